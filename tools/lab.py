"""The standing experiment: every datastore and every way of counting, verified under faults and measured.

python -m tools.lab                    all of it, into docs/report: an hour
python -m tools.lab --only redis,etcd  renews these, and leaves what earlier runs found of the others
python -m tools.lab --short            a selection for a few seconds each, into build/lab: at most 6 minutes

What fails does not end the rest. The exit status is 1 if something failed, or was not as expected: plusone held all
that it claims, and the others showed each weakness that is known of them (rare ones aside), and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from plusone.cli.laboratory import interruptible
from plusone.lab.compare import Plan, compare, resolve
from plusone.lab.report import plots
from plusone.lab.report.markdown import main_table
from plusone.lab.report.page import colours, html
from plusone.lab.report.reading import FILE, Run, read_runs
from plusone.lab.report.summary import OURS, standing, summarized
from plusone.lab.report.wording import many
from plusone.lab.results import Comparison, Result, Verification
from plusone.lab.servers import SERVERS
from plusone.lab.subjects.registry import SUBJECTS, expected, subjects_for
from plusone.lab.verify import verify

ROOT: Final = Path(__file__).resolve().parent.parent
REPORT: Final = Path("docs/report")
SHORT_REPORT: Final = Path("build/lab")
SEED: Final = 20261121
WITHOUT_SERVER: Final[Mapping[str, str]] = {"memory": "memory:", "sqlite": "sqlite:counters.db"}
"""Datastores that are part of the process, and their URLs; the folder is one that goes when the run is over."""
TARGETS: Final = (*WITHOUT_SERVER, *SERVERS)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done."""

    targets: Mapping[str, Sequence[str]]
    """And the subjects on each; none stands for all that count there."""
    verify_seconds: float
    compare_seconds: float
    concurrency: Sequence[int]
    keys: Sequence[int]
    minutes_max: float | None = None
    """After these nothing is begun any more."""


FULL: Final = Form(
    targets=dict.fromkeys(TARGETS, ()),
    verify_seconds=15.0,
    compare_seconds=1.0,
    concurrency=(1, 64, 256),
    keys=(1, 1_000),
)
SHORT: Final = Form(
    targets={
        "redis": ("plusone", "service", "redis-incrby"),
        "sqlite": ("plusone",),
        "postgresql": ("plusone", "postgresql-select-then-update"),
        "etcd": ("plusone",),
    },
    verify_seconds=6.0,
    compare_seconds=0.3,
    concurrency=(64,),
    keys=(1,),
    minutes_max=4.5,
)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to run."""

    target: str
    subject: str | None
    """None for the comparison of all subjects."""

    @property
    def words(self) -> str:
        return f"compare on {self.target}" if self.subject is None else f"verify {self.subject} on {self.target}"

    @property
    def file(self) -> Path:
        """Where its result is kept, below the folder of results."""
        return Path(self.target) / (self.subject or "comparison") / FILE


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    form = SHORT if options.short else FULL
    chosen = [name for name in TARGETS if name in (options.only or form.targets)]
    output: Path = (options.output or ROOT / (SHORT_REPORT if options.short else REPORT)).resolve()
    console = Console(stderr=True)
    console.print(f"seed {options.seed}, {', '.join(chosen)}, into {output}", soft_wrap=True)
    results = output / "runs"
    troubles: list[str] = []
    with interruptible(), _elsewhere():
        for task, result in _run(chosen, form, options.seed, console, troubles):
            _keep(results / task.file, result)
            troubles += unexpected(result)
    runs = kept(results)
    if runs:
        try:
            write(runs, output, console)
        except (OSError, subprocess.SubprocessError) as error:  # after an hour, what was found is said all the same
            troubles.append(f"the page: {error}")
    for trouble in troubles:
        console.print(f"[bold red]✗[/] {trouble}", soft_wrap=True)
    console.print(f"{many(len(runs), 'result')} in {output}; {many(len(troubles), 'trouble')}", soft_wrap=True)
    return int(bool(troubles) or not runs)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.lab", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", type=_names, help=f"some of {', '.join(TARGETS)}, separated by commas")
    parser.add_argument("--short", action="store_true", help="a selection, for a few seconds each")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path)
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(TARGETS)}")
    return names


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """In a folder that is gone behind this: what names a file in a result names no place on this machine."""
    with tempfile.TemporaryDirectory(prefix="plusone-lab-") as folder, contextlib.chdir(folder):
        yield


def _run(
    targets: Sequence[str], form: Form, seed: int, console: Console, troubles: list[str]
) -> Iterator[tuple[Task, Result]]:
    """Each task and what it found; what fails is among the troubles, and the next one begins."""
    tasks = [task for target in targets for task in _tasks(target, form)]
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        shown = progress.add_task("", total=len(tasks))
        for number, task in enumerate(tasks):
            if form.minutes_max is not None and time.monotonic() - began > form.minutes_max * 60:
                console.print(f"left out, for {form.minutes_max:g} minutes are over: {task.words}", soft_wrap=True)
                continue
            progress.update(shown, description=task.words, completed=number)
            start = time.monotonic()
            try:
                result = _result(task, form, seed, lambda words: progress.update(shown, description=words))
            except Exception as error:  # whatever it was: the other datastores are still to be run
                console.print(f"[bold red]✗[/] {task.words}", soft_wrap=True)
                troubles.append(f"{task.words}: {' '.join(f'{type(error).__name__}: {error}'.split())}")
                continue
            said = standing(result) if isinstance(result, Verification) else many(len(result.columns), "column")
            console.print(f"{task.words}: {said}, {time.monotonic() - start:.0f} s", soft_wrap=True)
            yield task, result


def _tasks(target: str, form: Form) -> list[Task]:
    return [Task(target=target, subject=name) for name in [*_subjects(target, form), None]]


def _subjects(target: str, form: Form) -> Sequence[str]:
    scheme = SERVERS[target].scheme if target in SERVERS else target
    return form.targets.get(target) or [subject.name for subject in subjects_for(scheme)]


def _result(task: Task, form: Form, seed: int, tell: Callable[[str], None]) -> Result:
    place = WITHOUT_SERVER.get(task.target, task.target)
    if task.subject is not None:
        (found,) = verify(
            place,
            subjects=(task.subject,),
            seconds=form.verify_seconds,
            seed=seed,
            output=Path("runs") / task.target / task.subject,
            report=lambda progress: tell(f"{task.target}, {progress.what}"),
        )
        # The histories stay behind: a run that is repeated writes them anew.
        return msgspec.structs.replace(found, histories=())
    plan = Plan(
        targets=(place,),
        subjects=_subjects(task.target, form),
        seconds=form.compare_seconds,
        concurrency=form.concurrency,
        keys=form.keys,
        seed=seed,
    )
    return compare(plan, resolve(plan), lambda words, _: tell(f"{task.target}, {words}"))


def unexpected(result: Result) -> list[str]:
    """What is not as it is known to be: a promise of ours that did not hold, a weakness that is new or was missed."""
    if not isinstance(result, Verification):
        return []
    what = f"{result.subject} on {result.store}"
    if result.subject in OURS:
        broken = [p for p in result.promises if p.claimed and p.verdict in ("illegal", "unknown")]
        return [f"{what}: {p.name}: {p.verdict}: {p.evidence}; again: {result.command}" for p in broken]
    has_to, may = expected(SUBJECTS[result.subject], result.store)
    found = {each.kind for each in result.contradictions}
    new = sorted(found - may) if not result.lost else []
    troubles = [f"{what}: {kind}, which was not known of it; again: {result.command}" for kind in new]
    missed = sorted(has_to - found)
    return troubles + [
        f"{what}: {kind}, which it is known for, was not found; again: {result.command}" for kind in missed
    ]


def _keep(file: Path, result: Result) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(result) + b"\n")


def kept(folder: Path) -> list[Run]:
    """What this run and earlier ones found."""
    return read_runs([folder]) if folder.is_dir() else []


def write(runs: Sequence[Run], output: Path, console: Console) -> None:
    """The page, its drawings as files, and a picture of its head."""
    page = output / "index.html"
    page.write_text(html(runs), encoding="utf-8")
    columns = [column for run in runs if isinstance(run.result, Comparison) for column in run.result.columns]
    variables = colours()
    for keys in sorted({cell.keys for column in columns for cell in column.cells}):
        if plot := plots.throughput(columns, keys):
            (output / f"throughput-{keys}.svg").write_text(plots.standalone(plot, variables), encoding="utf-8")
    for store in dict.fromkeys(column.store for column in columns):
        if plot := plots.latency([column for column in columns if column.store == store]):
            (output / f"latency-{store}.svg").write_text(plots.standalone(plot, variables), encoding="utf-8")
    chromium = shutil.which("chromium")
    if chromium is None:
        console.print("no picture of the page's head: chromium is not installed")
        return
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--window-size=1200,1000", f"--screenshot={output / 'report.png'}"]
        subprocess.run([*command, page.as_uri()], check=True, capture_output=True, timeout=120)


def region() -> str:
    """What the README shows of it."""
    runs = kept(ROOT / REPORT / "runs")
    if not runs:
        return "Not run yet: `make lab`."
    summary = summarized(runs)
    head = "\n".join(f"- {line.sign.symbol} {line.text}" for line in summary.lines)
    pictures = {
        "throughput-1.svg": "Increments per second of one counter, on every datastore",
        "report.png": "The head of the report",
    }
    shown = [
        f"[![{said}]({REPORT / name})]({REPORT / 'index.html'})"
        for name, said in pictures.items()
        if (ROOT / REPORT / name).exists()
    ]
    return "\n\n".join([head, main_table(runs), *shown])


if __name__ == "__main__":
    # Servers are killed here: what drivers have to say about that would bury what was found.
    logging.getLogger().addHandler(logging.NullHandler())
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main(sys.argv[1:]))
