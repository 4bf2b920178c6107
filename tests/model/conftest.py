"""What the model's tests share: assertions explained in its helpers too, and quiet about the losses they cause."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("plusone.combiner"), "disabled", True)
