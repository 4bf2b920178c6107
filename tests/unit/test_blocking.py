"""The façade for threads: exact counts from many of them, clean ends, and a child process that opens anew."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import plusone
import plusone.blocking
from plusone.errors import BoundReached, Closed, ConfigurationError, StoreUnavailable
from plusone.types import Operation

THREADS = 32
EACH = 50


@pytest.fixture(params=["memory://", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/counters.db" if request.param == "sqlite" else str(request.param)


def in_threads(work: Callable[[int], list[int]]) -> list[int]:
    with ThreadPoolExecutor(THREADS) as pool:
        return [value for values in pool.map(work, range(THREADS)) for value in values]


def test_many_threads_count_exactly_once_each(url: str) -> None:
    with plusone.blocking.open(url) as counters:
        values = in_threads(lambda _: [counters.increment("votes").value for _ in range(EACH)])
        assert sorted(values) == list(range(1, THREADS * EACH + 1))
        assert counters.get("votes").value == THREADS * EACH
        assert counters.statistics.operations_total == THREADS * EACH


def test_a_ceiling_holds_for_all_threads_together(url: str) -> None:
    with plusone.blocking.open(url) as counters:
        outcomes = in_threads(lambda _: [int(bool(counters.increment("seats", ceiling=100))) for _ in range(EACH)])
        assert sum(outcomes) == 100
        assert counters.get("seats").value == 100
        with pytest.raises(BoundReached):
            counters.increment("seats", ceiling=100).raise_for_rejection()


def test_every_call_of_the_facade_is_there(url: str) -> None:
    with plusone.blocking.open(url, account="shop", timeout=5) as counters:
        assert counters.add("a", 5, token="t").replayed is False
        assert counters.add("a", 5, token="t").replayed is True
        assert counters.decrement("a", 2, floor=0).value == 3
        assert counters.set("b", 7, if_absent=True).value == 7
        assert counters.reset("b").previous == 7
        assert [counter.value for counter in counters.get_many(["a", "b"])] == [3, 0]
        assert [counter.name for counter in counters.list("").counters] == ["a", "b"]
        assert counters.delete("b").applied
        results = counters.apply([("a", Operation.add(1)), ("c", Operation.set(9))])
        assert [result.value for result in results if isinstance(result, plusone.Outcome)] == [4, 9]
        assert counters.capabilities.lists is True
        counters.check()


def test_it_has_the_methods_and_signatures_of_the_async_facade() -> None:
    public = {name for name in vars(plusone.Counters) if not name.startswith("_")}
    assert public == {name for name in vars(plusone.blocking.Counters) if not name.startswith("_")}
    for name in public - {"capabilities", "statistics", "close"}:
        ours, theirs = getattr(plusone.blocking.Counters, name), getattr(plusone.Counters, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__
        assert not inspect.iscoroutinefunction(ours)
    assert inspect.signature(plusone.blocking.open) == inspect.signature(plusone.open)


def test_what_cannot_be_opened_raises_at_once_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationError):
        plusone.blocking.open("memory://", timeout=0)
    with pytest.raises((StoreUnavailable, ConfigurationError, plusone.StoreRefused)):
        plusone.blocking.open(f"sqlite:{tmp_path}")  # a folder
    assert threading.active_count() == before


def test_closing_waits_for_what_is_under_way_and_refuses_the_rest(url: str) -> None:
    counters = plusone.blocking.open(url)
    answered: list[int] = []
    refused = threading.Barrier(THREADS + 1)

    def count_until_closed() -> None:
        try:
            while True:
                answered.append(counters.increment("votes").value)
        except Closed:
            refused.wait(60)

    threads = [threading.Thread(target=count_until_closed) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while not answered:
        counters.check()
    counters.close()
    counters.close()
    refused.wait(60)
    for thread in threads:
        thread.join()
    assert sorted(answered) == list(range(1, len(answered) + 1))
    with pytest.raises(Closed):
        counters.get("votes")
    if url != "memory://":
        with plusone.blocking.open(url) as reopened:
            assert reopened.get("votes").value == len(answered)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_told_to_open_its_own(tmp_path: Path) -> None:
    script = f"""
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on a fork with threads warns: it is what we test
import plusone.blocking
with plusone.blocking.open("sqlite:{tmp_path}/counters.db") as counters:
    counters.increment("votes")
    counters._lock.acquire()  # another thread may hold it at the fork
    child = os.fork()
    if child == 0:
        try:
            counters.increment("votes")
        except plusone.Closed as error:
            print(error, flush=True)
        counters.close()
        os._exit(0)
    counters._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    print(counters.increment("votes").value)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    told = "these counters were opened before a fork; open them in each process, after the fork\n"
    assert (run.stdout, run.stderr) == (told + "2\n", "")


def test_an_interrupt_ends_the_wait_and_a_close_still_drains(tmp_path: Path) -> None:
    # The script interrupts its own main thread while a thread that holds the file's write lock keeps it waiting.
    script = f"""
import os, signal, sqlite3, threading
import plusone.blocking
path = "{tmp_path}/counters.db"
with plusone.blocking.open("sqlite:" + path) as counters:
    counters.increment("votes")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        counters.increment("votes")
    except KeyboardInterrupt:
        print("interrupted")
    blocker.execute("ROLLBACK")
    blocker.close()
    print(counters.increment("votes").value)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("interrupted\n3\n", "")


def test_a_program_that_forgets_to_close_still_ends() -> None:
    script = "import plusone.blocking\nprint(plusone.blocking.open('memory://').increment('votes').value)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "1\n", "")
