"""Many notebooks: a process for each, what a person sees of them, and the end of all if the run is stopped.

A notebook's process leaves in a folder of its own which cell it is at and how it ended, and the library inside the
notebook its progress, in the file that ``EUREKA_STATUS`` names. These are files, and not a pipe, which would stay open
as long as anything that a notebook has started.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from eureka_lib.experiments import defaults
from eureka_lib.progress import clock
from eureka_lib.run_all.child import Outcome
from eureka_lib.run_all.jobs import Job, read_record, why_run
from eureka_lib.run_all.surroundings import secluded

LINE_EVERY = 15  # seconds from one line of a notebook's progress to the next, where they stay


class Child:
    """A running notebook: its process, what is known of its progress, and how it ended."""

    def __init__(self, job: Job):
        self.job, self.started, self.before = job, time.monotonic(), seconds_before(job)
        self.scratch = Path(tempfile.mkdtemp(prefix="eureka-"))
        with open(self.scratch / "log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eureka_lib.run_all", "--child", json.dumps(asdict(job)), str(self.scratch)],
                stdin=subprocess.PIPE,  # when it closes, the child ends
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(job, self.scratch),
                start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the children in order
            )

    def state(self) -> str:
        """``cell 6/15  training:  43%, 3 of 11 runs, 1:40 left``, or as much of it as is known."""
        return "  ".join(filter(None, (_read(self.scratch / name) for name in ("cell", "status")))) or "starting"

    def outcome(self) -> Outcome | None:
        """How it ended, None as long as it runs. A process that left no outcome has failed."""
        if (status := self.process.poll()) is None:
            return None
        if status == 0:
            return Outcome(**json.loads(_read(self.scratch / "outcome.json")))
        how = (
            f"by {signal.Signals(-status).name}" if status < 0 else f"with {_read(self.scratch / 'log').strip()[-300:]}"
        )
        return Outcome(self.job.name, "FAILED", time.monotonic() - self.started, f"its process ended {how}")

    def stop(self) -> None:
        """End the process, and with it the kernel, if it still runs; leave no traces."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _environment(job: Job, scratch: Path) -> dict[str, str]:
    ours = {"EUREKA_PROFILE": job.profile, "EUREKA_HEADLESS": "1", "EUREKA_STATUS": str(scratch / "status")}
    return secluded(os.environ, scratch) | ours


def execute_all(jobs: list[Job], workers: int, force: bool, stream: TextIO) -> Iterator[Outcome]:
    """Execute the jobs that need it, ``workers`` at a time, and yield each outcome as it comes.

    Notebooks that read others' claims come last, when those have been made.
    """
    display = Display(jobs, stream)
    for last in (False, True):
        waiting = []
        for job in (job for job in jobs if job.reads_claims == last):
            if reason := "--force" if force else why_run(job):
                waiting.append((job, reason))
            else:
                display.line(job, "up to date, so not executed; --force executes it all the same")
                yield Outcome(job.name, "up to date")
        yield from _execute(waiting, workers, display)


def _execute(waiting: list[tuple[Job, str]], workers: int, display: "Display") -> Iterator[Outcome]:
    running: list[Child] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job, reason = waiting.pop(0)
                display.line(job, f"starts ({reason})")
                running.append(Child(job))
            for child in list(running):
                if outcome := child.outcome():
                    running.remove(child)
                    child.stop()
                    verb = "FAILED after" if outcome.error else "ok in"
                    display.line(child.job, f"{verb} {clock(outcome.seconds)}{outcome.error and ': '}{outcome.error}")
                    yield outcome
            display.update({child.job.name: child.state() for child in running}, time_left(running, waiting, workers))
            time.sleep(0.2 if running else 0)
    finally:
        display.close()
        for child in running:
            child.stop()


def time_left(running: list[Child], waiting: list[tuple[Job, str]], workers: int) -> str:
    """Time left for all notebooks by what they took before, and how many were not executed before, in words."""
    now = time.monotonic()
    times = [(child.before, now - child.started) for child in running]
    times += [(seconds_before(job), 0.0) for job, _ in waiting]
    known = [max(before - age, 0.0) for before, age in times if before is not None]
    if not known:
        return "time left not known yet"
    plus = f", and {len(times) - len(known)} not executed before" if len(known) < len(times) else ""
    return f"about {clock(sum(known) / min(workers, len(times)))} left{plus}"


def seconds_before(job: Job) -> float | None:
    """How long a notebook took when it last succeeded; None if that is not known."""
    return (read_record(job) or {}).get("seconds")


class Display:
    """A line per notebook on ``stream``: on a terminal redrawn by tqdm, elsewhere anew every ``LINE_EVERY`` seconds."""

    def __init__(self, jobs: list[Job], stream: TextIO):
        self.labels = {job.name: f"[{i}/{len(jobs)}] {job.name}" for i, job in enumerate(jobs, 1)}
        self.stream, self.redraws = stream, stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.bars: dict[str, tqdm] = {}
        self.printed: dict[str, tuple[float, str]] = {}  # when and what was last printed of each notebook
        self.started = time.monotonic()

    def line(self, job: Job, text: str) -> None:
        """Print a line that stays."""
        self.printed[job.name] = time.monotonic(), ""
        tqdm.write(f"{self.labels[job.name]}  {text}", file=self.stream)
        self.stream.flush()

    def update(self, states: dict[str, str], left: str) -> None:
        """Show the states of the running notebooks, by name, and the time left for all."""
        overall = f"{clock(time.monotonic() - self.started)} so far, {left}"
        lines = {name: f"{self.labels[name]}  {state}" for name, state in states.items()}
        if self.redraws:
            self._redraw(lines | ({"": f"All: {overall}"} if lines else {}))
            return
        for name, text in lines.items():
            then, before = self.printed[name]
            if text != before and time.monotonic() - then >= LINE_EVERY:
                self.printed[name] = time.monotonic(), text
                print(f"{text}  (all: {overall})", file=self.stream, flush=True)

    def _redraw(self, lines: dict[str, str]) -> None:
        for name in self.bars.keys() - lines.keys():
            self.bars.pop(name).close()
        for name, text in lines.items():
            if name not in self.bars:  # the empty bar has tqdm cut what is longer than the terminal's lines
                layout = {"bar_format": "{desc}{bar:b}", "dynamic_ncols": True, "leave": False}
                self.bars[name] = tqdm(file=self.stream, **layout)
            self.bars[name].set_description_str(text)

    def close(self) -> None:
        """Take the redrawn lines off the terminal."""
        self._redraw({})


def summary(jobs: list[Job], outcomes: list[Outcome]) -> str:
    """The closing words: how each notebook ended, and where things are."""
    ends = {job.name: Outcome(job.name, "not done") for job in jobs} | {each.name: each for each in outcomes}
    width = max(map(len, ends))
    lines = ["", "Summary"]
    for end in ends.values():
        took = clock(end.seconds) if end.seconds else ""
        lines.append(f"  {end.status:<10}  {end.name:<{width}}  {took:>7}  {end.error}".rstrip())
    for job in jobs:
        if job.played:
            values, folder = ", ".join(defaults.as_arguments(job.played)), from_here(Path(job.figures))
            lines.append(f"{job.name} was played with {values}: figures in {folder}, and no claims kept")
    folders = {job.figures: job.products for job in jobs}
    lines += [f"Figures: {', '.join(from_here(Path(folder)) for folder in folders)}"]
    lines += [f"Notebooks as HTML: {', '.join(map(from_here, folders.values()))}"]
    failed = sum(end.status == "FAILED" for end in ends.values())
    if failed:
        lines.append(f"{failed} of {len(jobs)} failed. A rerun executes these again and skips what is done.")
    return "\n".join(lines)


def from_here(path: Path) -> str:
    """``path`` relative to the working directory if it is inside."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
