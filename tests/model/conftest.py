"""What the model's tests share."""

from __future__ import annotations

import logging

import pytest

from plusone.stores import memory


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store keeps as little as docs/protocol.md allows, given that no packet is older than 4 minutes."""
    monkeypatch.setattr(memory, "SESSIONS_KEPT", 2)
    monkeypatch.setattr(memory, "SESSION_KEPT_MS", 300_000)
    monkeypatch.setattr(memory, "DEAD_KEPT_MS", 300_000)
    monkeypatch.setattr(memory, "_REMOVAL_EVERY_MS", 1_000)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the losses that the schedules cause."""
    monkeypatch.setattr(logging.getLogger("plusone.combiner"), "disabled", True)
