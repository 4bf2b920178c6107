"""What the log shows of a failure: where it was, and not what was in its variables."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import structlog
from plusone.config import Settings
from plusone.service import log

def connect(password):
    raise RuntimeError("refused")

log.configure(Settings(log_format=sys.argv[1]))
try:
    connect(sys.argv[2])
except RuntimeError as error:
    structlog.stdlib.get_logger("plusone.service").error("internal error", exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_has_no_values_of_variables(log_format: str) -> None:
    command = [sys.executable, "-c", PROGRAM, log_format, "hunter2"]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stderr
    assert all(part in log for part in ("internal error", "RuntimeError", "refused", "connect"))
    assert "hunter2" not in log
