"""Momento's wire types, loaded without the package that brings them.

`import momento_wire_types` imports every generated module, among them the one of a file `auth.proto`. The etcd driver
has another file of that name, and protobuf, which knows files of one process by name alone, refuses whichever comes
second: the two stores could not be used together. We need no `auth.proto`.

Generated modules import one another relatively, so they load under any package name. Here they load under a name of
ours, in a package whose path is their folder. Nothing of theirs is touched: whoever imports `momento_wire_types` itself
(Momento's own SDK does), before or after, gets the real one, and protobuf makes the same classes of the same file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

_SOURCE: Final = "momento_wire_types"
_PACKAGE: Final = f"{__package__}.generated"


def _load(name: str) -> Any:
    """The generated module of this name."""
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_SOURCE)  # finds the package, and does not run it
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"No module named {_SOURCE!r}", name=_SOURCE)
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(Path(location) / "generated") for location in spec.submodule_search_locations]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


if TYPE_CHECKING:
    from momento_wire_types.generated import cacheclient_pb2 as cache
    from momento_wire_types.generated import common_pb2 as common
    from momento_wire_types.generated import controlclient_pb2 as control
else:
    cache = _load("cacheclient_pb2")
    common = _load("common_pb2")
    control = _load("controlclient_pb2")

ScsStub: Final[Any] = _load("cacheclient_pb2_grpc").ScsStub
ScsControlStub: Final[Any] = _load("controlclient_pb2_grpc").ScsControlStub

__all__ = ["ScsControlStub", "ScsStub", "cache", "common", "control"]
