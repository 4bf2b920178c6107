"""The command line: it parses, calls the façade and prints.

What takes long to import is imported by the command that needs it, so that help and completion answer at once.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
import typer.core

import plusone
from plusone.cli import checking, comparing, costing, reporting, verifying
from plusone.cli.installed import NotInstalled, known, schemes_by_class
from plusone.cli.places import existing, targets, url_of
from plusone.cli.preparing import prepare
from plusone.cli.printing import absence, explained, print_counters, print_json, print_rows, print_stores, promises
from plusone.config import DEFAULT_STORE, load
from plusone.counters import Counters
from plusone.errors import ConfigurationError
from plusone.types import Consistency, Outcome

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(help="The counter's name: 1 to 255 bytes of UTF-8.")]
By = Annotated[int, typer.Option(help="How much; it may be negative.")]
Ceiling = Annotated[int | None, typer.Option(help="Reject a rise above this value.")]
Floor = Annotated[int | None, typer.Option(help="Reject a fall below this value.")]
Token = Annotated[str | None, typer.Option(help="Idempotency key: the same command with it counts once.")]
IfRevision = Annotated[int | None, typer.Option(help="Reject unless the counter exists at this revision.")]
IfAbsent = Annotated[bool, typer.Option("--if-absent", help="Reject if the counter exists.")]
Ttl = Annotated[float | None, typer.Option(help="Seconds to live, if this command brings the counter to life.")]
Store = Annotated[
    str | None,
    typer.Option(help="A store URL, or a store's name in the configuration. Else PLUSONE_STORE, else the configured."),
]
Config = Annotated[Path | None, typer.Option(help="Configuration file; without it, plusone.toml if there is one.")]
Timeout = Annotated[float | None, typer.Option(help="Deadline in seconds, over all attempts.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: answers to stdout, errors to stderr.")]


class _TakesNegative(typer.core.TyperCommand):
    """A command with a number among its arguments, so that `-3` is no unknown option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for index, arg in enumerate(args[:end]):
            if not arg.startswith("-") or not arg[1:].isdigit():
                continue
            before = args[index - 1] if index else ""
            takes_value = before.startswith("--") and "=" not in before and before not in ("--json", "--if-absent")
            if not takes_value:
                args = [*args[:index], *args[index + 1 : end], "--", arg, *args[end + 1 :]]
                break
        return super().parse_args(ctx, args)


@app.callback()
def _plusone(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected failure.")] = False,
) -> None:
    """Counts exactly once, on the database you already run."""


def _adding(verb: str, method: Callable[..., Coroutine[Any, Any, Outcome]], summary: str) -> None:
    """Register `increment` or `decrement`, which differ in nothing else."""

    @app.command(verb, help=summary)
    def command(
        name: Name,
        by: By = 1,
        ceiling: Ceiling = None,
        floor: Floor = None,
        token: Token = None,
        if_revision: IfRevision = None,
        if_absent: IfAbsent = False,
        ttl: Ttl = None,
        store: Store = None,
        config: Config = None,
        timeout: Timeout = None,
        as_json: Json = False,
    ) -> None:
        bounds = {"ceiling": ceiling, "floor": floor}
        rest = {"token": token, "if_revision": if_revision, "if_absent": if_absent, "ttl": ttl}
        _change(name, lambda counters: method(counters, name, by, **bounds, **rest), store, config, timeout, as_json)


_adding("increment", Counters.increment, "Add to a counter.")
_adding("decrement", Counters.decrement, "Subtract from a counter.")


@app.command("set", cls=_TakesNegative)
def set_(
    name: Name,
    value: Annotated[int, typer.Argument(help="The new value; it may be negative.")],
    token: Token = None,
    if_revision: IfRevision = None,
    if_absent: IfAbsent = False,
    ttl: Ttl = None,
    store: Store = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Make a counter a value, whatever it was."""
    _change(
        name,
        lambda counters: counters.set(name, value, token=token, if_revision=if_revision, if_absent=if_absent, ttl=ttl),
        store,
        config,
        timeout,
        as_json,
    )


@app.command()
def reset(
    name: Name,
    token: Token = None,
    if_revision: IfRevision = None,
    store: Store = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Make a counter 0. Unlike a deleted one it goes on existing."""
    _change(
        name,
        lambda counters: counters.reset(name, token=token, if_revision=if_revision),
        store,
        config,
        timeout,
        as_json,
    )


@app.command()
def delete(
    name: Name,
    token: Token = None,
    if_revision: IfRevision = None,
    store: Store = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Delete a counter. It reads as 0 from then on."""
    _change(
        name,
        lambda counters: counters.delete(name, token=token, if_revision=if_revision),
        store,
        config,
        timeout,
        as_json,
    )


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of counters.")],
    eventual: Annotated[bool, typer.Option("--eventual", help="A replica may answer, where there is one.")] = False,
    store: Store = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Read counters. With --json, each is an object on a line of its own."""
    with explained(as_json):
        consistency: Consistency = "eventual" if eventual else "strong"
        found = _ask(
            lambda counters: counters.get_many(names, consistency=consistency), store, config, timeout, reads=True
        )
        if as_json:
            for counter in found:
                print_json(counter)
        else:
            print_counters(found)


@app.command("list")
def list_(
    prefix: Annotated[str, typer.Argument(help="Only counters whose names begin with this.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1,000.")] = 100,
    page_token: Annotated[str | None, typer.Option(help="Where to go on, as the page before said.")] = None,
    store: Store = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List the counters that exist."""
    with explained(as_json):
        page = _ask(
            lambda counters: counters.list(prefix, limit=limit, page_token=page_token),
            store,
            config,
            timeout,
            reads=True,
        )
        if as_json:
            print_json(page)
        else:
            print_counters(page.counters)
            if page.next_page_token is not None:
                typer.echo(f"more: --page-token {shlex.quote(page.next_page_token)}", err=True)


@app.command()
def stores(
    scheme: Annotated[
        str | None,
        typer.Argument(metavar="SCHEME", help="Only the datastore of this scheme, such as redis, or of this URL."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what each datastore promises, and on which server of which version that was tested."""
    with explained(as_json):
        found = [known(schemes) for schemes in schemes_by_class(scheme)]
        if as_json:
            print_json(found if scheme is None else found[0])
        else:
            print_stores(absence(store) if isinstance(store, NotInstalled) else promises(store) for store in found)


@app.command()
def setup(
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="URL", help="A store URL, or a store's name in the configuration. Without it, all configured."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would be done.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create or migrate what a datastore needs (tables and the like), print each step, and see that it serves.

    It may be run again, and while others count: what is there already is left as it is. With --json, each store is an
    object on a line of its own.
    """
    with explained(as_json):
        settings = load(config, os.environ)
        configured = load(config, os.environ, default_stores={}).stores
        for label, url in targets(store, settings, configured).items():
            prepare(label, url, settings, dry_run=dry_run, as_json=as_json)


@app.command()
def serve(
    store: Annotated[str | None, typer.Option(help="The default store's URL. Else PLUSONE_STORE.")] = None,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Without keys only a loopback one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.")] = None,
    grace: Annotated[float | None, typer.Option(help="Seconds that a stopping service gives to requests.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve the counters over HTTP, until SIGTERM or Ctrl-C; then finish what is under way."""
    flags = {"store": store, "host": host, "port": port, "workers": workers, "grace": grace}
    with explained(as_json=False):
        settings = load(config, os.environ, {**flags, "log_format": log_format, "log_level": log_level})
        with _needs_server():
            from plusone.service.run import serve as run
        run(settings)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP service."""
    with explained(as_json=False):
        with _needs_server():
            from plusone.service.run import openapi as document
        typer.echo(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode())


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": plusone.__version__})
    else:
        typer.echo(f"plusone {plusone.__version__}")


for _command in (verifying, checking, comparing, reporting, costing):
    _command.register(app)


def main() -> None:
    """The program `plusone`. An unexpected failure is one line, and a traceback only where `--debug` asks for it."""
    try:
        app(prog_name="plusone")
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        described = " ".join(f"{type(error).__name__}: {error}".split())
        typer.echo(f"plusone: unexpected failure: {described}", err=True)
        typer.echo("This is a defect. Please report it with what `plusone --debug ...` prints.", err=True)
        raise SystemExit(1) from None


def _change(
    name: str,
    call: Callable[[Counters], Coroutine[Any, Any, Outcome]],
    store: str | None,
    config: Path | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    with explained(as_json):
        outcome = _ask(call, store, config, timeout)
        if as_json:
            print_json({"name": name, **msgspec.structs.asdict(outcome)})
        else:
            replayed = "remembered" if outcome.replayed else ""
            columns = ("counter", "value", "previous", "revision", "")
            print_rows(columns, [(name, outcome.value, outcome.previous, outcome.revision, replayed)])
        outcome.raise_for_rejection()


def _ask(
    call: Callable[[Counters], Coroutine[Any, Any, T]],
    store: str | None,
    config: Path | None,
    timeout: float | None,
    *,
    reads: bool = False,
) -> T:
    settings = load(config, os.environ, {"store": store, "timeout": timeout})
    url = url_of(settings.stores[DEFAULT_STORE], settings.stores)

    async def answer() -> T:
        async with plusone.open(
            existing(url) if reads else url,
            timeout=settings.timeout,
            on_gap=settings.on_gap,
            token_retention=settings.token_retention,
        ) as counters:
            return await call(counters)

    return asyncio.run(answer())


@contextmanager
def _needs_server() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("plusone"):
            raise
        raise ConfigurationError("the HTTP service is not installed; run: pip install 'plusone[server]'") from error
