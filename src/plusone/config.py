"""Settings: read once from a TOML file, the environment and flags, in rising precedence, and frozen from then on.

The file has the names of `Settings` as its keys, and a table `[stores]` from names to store URLs. The environment has
them as `PLUSONE_PORT` and so on, with `PLUSONE_STORE` for the URL of the default store; lists are separated by commas.
The settings of the classic routes are there without the prefix too, as they are where those routes come from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from plusone.errors import ConfigurationError
from plusone.statistics import DEADLINE_SECONDS_MAX, TOKEN_RETENTION_SECONDS_MAX, WAITING_MAX
from plusone.types import MAX

DEFAULT_PATH: Final = "plusone.toml"
DEFAULT_STORE: Final = "default"
ENVIRONMENT_PREFIX: Final = "PLUSONE_"
WITHOUT_PREFIX: Final = ("USE_CONDITIONAL_WRITES", "MAX_COUNTER_VALUE", "MOMENTO_CACHE_NAME")
"""What the environment says of the classic routes for whoever moves from them; with the prefix it wins."""
MOMENTO_STORE: Final = "momento"
_NOT_OURS: Final = (
    "PLUSONE_TEST_",  # where the test suite finds servers
    "PLUSONE_LAB_",  # the keys of servers that the lab started
    # Kubernetes gives every container of a namespace the addresses of its services, under these names if one is called
    # "plusone": also PLUSONE_PORT, as a URL.
    "PLUSONE_SERVICE_",
    "PLUSONE_PORT_",
)
_SERVICE_URL: Final = ("tcp://", "udp://", "sctp://")

StoreName = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,63}\Z")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Times are in seconds."""

    stores: dict[StoreName, str] = msgspec.field(default_factory=lambda: {DEFAULT_STORE: "sqlite:data/counters.db"})
    """Store URLs by name (`a-z 0-9 -`). `/v1/counters` is the one named "default"."""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8000
    workers: Annotated[int, Meta(ge=1, le=1_024)] = 1
    """Processes that serve. Each has its own connection to every store."""
    timeout: Annotated[float, Meta(ge=0.001, le=DEADLINE_SECONDS_MAX)] = 10.0
    """Each operation's deadline, over all its attempts."""
    waiting_max: Annotated[int, Meta(ge=1, le=WAITING_MAX)] = 100_000
    """Operations that may wait in one worker before new ones are refused with `overloaded`."""
    on_gap: Literal["continue", "stop"] = "continue"
    """What to do when a datastore turns out to have lost acknowledged operations."""
    token_retention: Annotated[float, Meta(ge=1, le=TOKEN_RETENTION_SECONDS_MAX)] = 86_400.0
    """How long an idempotency key is remembered, at least."""
    body_bytes_max: Annotated[int, Meta(ge=1_024, le=2**30)] = 4_194_304
    """The largest request body."""
    bulk_items_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """How many items one bulk request may have."""
    grace: Annotated[float, Meta(gt=0, le=3_600)] = 30.0
    """How long a stopping service gives to what is under way before it ends regardless."""
    hit_route: bool = False
    """Whether `GET /hit/{name}` counts. A GET that changes state is also followed by crawlers and prefetchers."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service, and count, from a browser; `*` for all. Others may not count."""
    use_conditional_writes: bool = False
    """Classic routes: whether counters stop at `max_counter_value`."""
    max_counter_value: Annotated[int, Meta(ge=0, le=MAX)] = 10
    """Classic routes: where they stop."""
    momento_cache_name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,255}\Z")] | None = None
    """If set, and `stores` has no `momento`, that store is `momento://` and this name."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


_TYPES: Final[Mapping[str, Any]] = get_type_hints(Settings, include_extras=True)


def load(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    *,
    default_stores: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of flags over environment over file over defaults; of these, `default_stores` may be others.

    `path` must exist; without one, `plusone.toml` is read if the working folder has it. `flags` are the names of
    `Settings`, and `store` for the default store's URL; None means not given. Raises `ConfigurationError`, which names
    the key and where it was found.
    """
    values: dict[str, Any] = {}
    stores = dict(Settings().stores if default_stores is None else default_stores)

    def take(key: str, value: object, found: str, *, text: bool = False) -> None:
        if key == "stores":
            stores.update(_convert(value, dict[StoreName, str], found))
        elif key == "store":
            stores[DEFAULT_STORE] = _convert(value, str, found)
        else:
            values[key] = _convert(value, _TYPES[key], found, text=text)

    _from_file(path, take)
    _from_environment(environ or {}, take)
    for key, value in (flags or {}).items():
        if value is not None:
            flag = f"--{key.replace('_', '-')}"
            _known(key, "store", flag)
            take(key, value, flag)
    if values.get("momento_cache_name") is not None:
        stores.setdefault(MOMENTO_STORE, f"momento://{values['momento_cache_name']}")
    return Settings(stores=stores, **values)


def _from_file(path: str | Path | None, take: Callable[..., None]) -> None:
    file = Path(DEFAULT_PATH if path is None else path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is None:
            return
        raise ConfigurationError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None
    for key, value in document.items():
        _known(key, "stores", str(file))
        take(key, value, f"{file}: {key}")


def _from_environment(environ: Mapping[str, str], take: Callable[..., None]) -> None:
    for variable in WITHOUT_PREFIX:
        if text := environ.get(variable):  # there an empty one is none
            take(variable.lower(), text, variable, text=True)
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(_NOT_OURS):
            continue
        if variable == "PLUSONE_PORT" and text.startswith(_SERVICE_URL):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        _known(key, "store", f"environment variable {variable}")
        is_list = key == "cors_origins"
        take(key, [part.strip() for part in text.split(",") if part.strip()] if is_list else text, variable, text=True)


def _known(key: str, stores_key: str, found: str) -> None:
    """Raise `ConfigurationError` for a key that is no setting. Where it was found, stores are set by `stores_key`."""
    known = [stores_key, *(name for name in _TYPES if name != "stores")]
    if key not in known:
        raise ConfigurationError(f"{found}: unknown setting {key!r}; known are {', '.join(known)}")


def _convert(value: object, kind: Any, found: str, *, text: bool = False) -> Any:
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError as error:
        choices = ("true", "false") if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
        allowed = f"; allowed are {', '.join(choices)}" if choices else ""
        raise ConfigurationError(f"{found}: {error}{allowed}") from None
