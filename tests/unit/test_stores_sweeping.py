"""When a store sweeps: when it is due, one at a time, and again after whatever went wrong."""

from __future__ import annotations

import asyncio
import logging

import pytest

from plusone.clock import Clock
from plusone.errors import StoreUnavailable
from plusone.stores.sweeping import EVERY_SECONDS, SOON_SECONDS, Sweeping

LOG = logging.getLogger("plusone.stores.test")


def test_a_sweep_is_due_after_a_while_and_goes_on_after_failures(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    came: list[BaseException | bool] = [StoreUnavailable("away"), ValueError("a defect"), True, False]
    swept = 0

    async def sweep() -> bool:
        nonlocal swept
        swept += 1
        what = came.pop(0)
        if isinstance(what, BaseException):
            raise what
        return what

    async def run() -> None:
        nonlocal now
        sweeping = Sweeping(sweep, Clock(monotonic=lambda: now), LOG)
        for pause in (EVERY_SECONDS, EVERY_SECONDS, EVERY_SECONDS, SOON_SECONDS):
            now += pause - 0.001
            if swept:
                assert sweeping.if_due() is None
            now += 0.001
            task = sweeping.if_due()
            assert task is not None
            assert sweeping.if_due() is task
            await task
        now += SOON_SECONDS
        assert sweeping.if_due() is None

    asyncio.run(run())
    assert swept == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_closing_ends_a_sweep() -> None:
    async def run() -> None:
        begun = asyncio.Event()

        async def sweep() -> bool:
            begun.set()
            await asyncio.Event().wait()
            return False

        now = 0.0
        sweeping = Sweeping(sweep, Clock(monotonic=lambda: now), LOG)
        now = EVERY_SECONDS
        task = sweeping.if_due()
        assert task is not None
        await begun.wait()
        await sweeping.close()
        assert task.cancelled()
        await sweeping.close()

    asyncio.run(run())
