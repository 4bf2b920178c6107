"""Profiles what multiprocessing starts, where this folder is on the PYTHONPATH, into the folder BENCH_PROFILES.

The service's workers are processes of Granian's making: this is how a profiler gets into them.
"""

import cProfile
import multiprocessing.process
import os
from pathlib import Path

_run = multiprocessing.process.BaseProcess.run


def _profiled_run(process: multiprocessing.process.BaseProcess) -> None:
    profiler = cProfile.Profile()
    try:
        profiler.runcall(_run, process)
    finally:
        profiler.dump_stats(Path(os.environ["BENCH_PROFILES"], f"{os.getpid()}.prof"))


multiprocessing.process.BaseProcess.run = _profiled_run  # type: ignore[method-assign, assignment]
