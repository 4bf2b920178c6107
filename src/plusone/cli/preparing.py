"""What `plusone setup` does with a store: its datastore's own preparation, and then whether it can serve."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

import plusone
from plusone.cli.printing import print_json
from plusone.clock import Clock
from plusone.config import Settings
from plusone.errors import PlusoneError
from plusone.stores.registry import StoreURL, make_store


def prepare(label: str, url: str, settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Set one store up, see that it serves, and print both. Errors have the label in front."""
    shown = StoreURL.parse(url).redacted()
    try:
        with _waiting(f"setting up {label}"):
            steps = list(asyncio.run(_set_up(url, settings, dry_run=dry_run)))
        if not as_json:
            _print_steps(label, shown, steps, dry_run=dry_run)
        ready = None
        try:
            if not dry_run:
                ready = False
                with _waiting(f"asking {label}"):
                    asyncio.run(_serves(url, settings))
                ready = True
        finally:
            # What was done is told, even where it did not suffice.
            if as_json:
                print_json({"store": label, "url": shown, "dry_run": dry_run, "steps": steps, "ready": ready})
            elif ready:
                typer.echo("  ready")
    except PlusoneError as error:
        if label in settings.stores:
            error.args = (f"store {label}: {error}", *error.args[1:])
        raise


async def _set_up(url: str, settings: Settings, *, dry_run: bool) -> Sequence[str]:
    store = make_store(url, clock=Clock(), token_retention_ms=round(settings.token_retention * 1000))
    return await store.setup(dry_run=dry_run)


async def _serves(url: str, settings: Settings) -> None:
    async with plusone.open(url, timeout=settings.timeout, token_retention=settings.token_retention) as counters:
        await counters.check()


def _print_steps(label: str, url: str, steps: Sequence[str], *, dry_run: bool) -> None:
    """The steps as they are, to be copied: nothing folds or colours them."""
    typer.echo(url if label == url else f"{label}: {url}")
    if not steps:
        typer.echo("  nothing to do")
        return
    typer.echo("  would do:" if dry_run else "  done:")
    typer.echo("\n\n".join(textwrap.indent(step.strip(), "    ") for step in steps))


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Show people that it goes on: some datastores take seconds. Programs see nothing of it."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
