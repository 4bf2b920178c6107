"""Momento's wire types beside aetcd's, whose file of the same name protobuf would refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

OURS = "from plusone.stores.momento import wire; wire.cache._SetIfRequest(absent=wire.common.Absent())"
ETCD = "import aetcd"
REAL = "from momento_wire_types import cacheclient_pb2; cacheclient_pb2._SetIfRequest"


def run(*statements: str) -> subprocess.CompletedProcess[str]:
    script = "\n".join(statements)
    return subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("order", [(OURS, ETCD), (ETCD, OURS)])
def test_one_process_may_use_both_stores(order: tuple[str, str]) -> None:
    pytest.importorskip("aetcd")
    done = run(*order)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("order", [(OURS, REAL), (REAL, OURS), (OURS, REAL, OURS)])
def test_the_real_package_stays_what_it_is(order: tuple[str, ...]) -> None:
    """Momento's own SDK imports it; the classes are the same ones then."""
    same = (
        "import momento_wire_types, plusone.stores.momento.wire as wire",
        "assert momento_wire_types.auth_pb2",
        "assert momento_wire_types.cacheclient_pb2._SetIfRequest is wire.cache._SetIfRequest",
    )
    done = run(*order, *same)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_real_package_is_not_run() -> None:
    done = run(OURS, "import sys; print('momento_wire_types' in sys.modules)")
    assert done.stdout == "False\n"


def test_the_two_packages_as_they_are_do_not_go_together() -> None:
    """What all this is for. When it fails, the detour in wire.py has become needless."""
    pytest.importorskip("aetcd")
    done = run(ETCD, REAL)
    assert "duplicate file name" in done.stderr


def test_a_missing_driver_is_named() -> None:
    done = run(
        "import sys; sys.modules['momento_wire_types'] = None",
        "import plusone",
        "try: plusone.open('momento://c?endpoint=localhost:1')",
        "except plusone.ConfigurationError as error: print(error)",
    )
    assert done.stdout == "momento: its driver is not installed; run: pip install 'plusone[momento]'\n"
