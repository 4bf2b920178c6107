"""The stores of one worker: opened together, and closed together whatever becomes of one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plusone.config import Settings
from plusone.errors import Closed, ConfigurationError, StoreUnavailable
from plusone.lab.processes import free_port
from plusone.service.stores import Stores


def open_files(path: Path) -> list[str]:
    """Which of this process's descriptors are of the file, or of those that SQLite keeps beside it."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link) for link in links if str(link).startswith(str(path))]


def test_when_one_cannot_be_opened_those_before_it_are_closed_again(tmp_path: Path) -> None:
    file = tmp_path / "counters.db"
    urls = {"default": f"sqlite:{file}", "far": f"redis://127.0.0.1:{free_port()}", "after": "memory://"}

    async def start() -> None:
        stores = Stores(Settings(stores=urls))
        with pytest.raises(StoreUnavailable, match=r"^store far: Redis: "):
            await stores.open()
        assert open_files(file) == []
        with pytest.raises(Closed):
            await stores.named("default").increment("votes")
        await stores.close()

    asyncio.run(start())
    assert file.exists()


def test_one_that_cannot_be_closed_keeps_no_other_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "counters.db"

    async def fails() -> None:
        raise StoreUnavailable("it is gone")

    async def stop() -> None:
        stores = Stores(Settings(stores={"default": "memory://", "second": f"sqlite:{file}"}))
        await stores.open()
        assert open_files(file)
        monkeypatch.setattr(stores.named("default"), "close", fails)
        with pytest.raises(StoreUnavailable, match=r"^store default: it is gone"):
            await stores.close()
        assert open_files(file) == []

    asyncio.run(stop())


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("none://here", "unknown store scheme 'none'"),
        ("sqlite:counters.db?colour=red", "sqlite: unknown parameter 'colour'"),
        ("memory://?size=1", "memory: unknown parameter 'size'"),
        ("nothing", "not a store URL"),
    ],
)
def test_a_url_that_is_none_is_told_with_its_stores_name(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Stores(Settings(stores={"default": "memory://", "far": url}))
    assert str(caught.value).startswith(f"store far: {problem}")
