"""Many notebooks: which are executed when, and what a person sees of them.

Each is executed by a worker process (:mod:`eureka_lib.run_all.one`), which writes down in a folder which cell it is at;
the library inside the notebook writes its progress there, into the file that ``EUREKA_STATUS`` names.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from eureka_lib.experiments import defaults
from eureka_lib.progress import clock
from eureka_lib.run_all.jobs import Job, Outcome, read_record, why_run

LINE_EVERY = 15  # seconds from one line of progress to the next, where they stay


def execute_all(
    jobs: list[Job], pool: Executor, workers: int, force: bool, scratch: Path, stream: TextIO
) -> Iterator[Outcome]:
    """Execute the jobs that need it in a pool of ``workers``, and yield each outcome as it comes.

    Notebooks that read others' claims come last, when those have been made.
    """
    with Display(jobs, stream) as display:
        for last in (False, True):
            waiting = []
            for job in (job for job in jobs if job.reads_claims == last):
                if reason := "--force" if force else why_run(job):
                    waiting.append((job, reason))
                else:
                    display.say(job, "up to date, so not executed; --force executes it all the same")
                    yield Outcome(job.name, "up to date")
            yield from _execute(waiting, pool, workers, scratch, display)


def _execute(
    waiting: list[tuple[Job, str]], pool: Executor, workers: int, scratch: Path, display: "Display"
) -> Iterator[Outcome]:
    before = {job.name: (read_record(job) or {}).get("seconds") for job, _ in waiting}  # each removes its record
    futures = {pool.submit(_work, job, scratch / job.name): (job, reason) for job, reason in waiting}
    started, pending = {}, set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        now = time.monotonic()
        for future, (job, reason) in futures.items():
            if job.name not in started and (future.running() or future.done()):
                started[job.name] = now
                display.say(job, f"starts ({reason})")
            if future in done:
                outcome = _outcome_of(future, job, now - started[job.name])
                verb = "FAILED after" if outcome.error else "ok in"
                display.say(job, f"{verb} {clock(outcome.seconds)}{outcome.error and ': '}{outcome.error}")
                yield outcome
        names = [job.name for future, (job, _) in futures.items() if future in pending]
        left = time_left([(before[name], now - started.get(name, now)) for name in names], workers)
        display.show({name: _state(scratch / name) for name in names if name in started}, left)


def _work(job: Job, scratch: Path) -> Outcome:
    from eureka_lib.run_all import one  # whose imports take seconds, and are the worker's

    return one.work(job, scratch)


def _outcome_of(future: Future, job: Job, seconds: float) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # its process was killed, for one
        return Outcome(job.name, "FAILED", seconds, " ".join(f"{type(error).__name__}: {error}".split()))


def _state(scratch: Path) -> str:
    """``cell 6/15  training:  43%, 3 of 11 runs, 1:40 left``, or as much of it as is known."""
    files = (scratch / name for name in ("cell", "status"))
    return "  ".join(file.read_text() for file in files if file.exists()) or "starting"


def time_left(times: list[tuple[float | None, float]], workers: int) -> str:
    """Time left in words, by the seconds that each notebook took before (None: not known), and has taken now."""
    known = [max(before - now, 0.0) for before, now in times if before is not None]
    if not known:
        return "time left not known yet"
    plus = f", and {len(times) - len(known)} not executed before" if len(known) < len(times) else ""
    return f"about {clock(sum(known) / min(workers, len(times)))} left{plus}"


class Display:
    """Lines on ``stream``: that of progress is redrawn on a terminal, elsewhere anew every ``LINE_EVERY`` seconds."""

    def __init__(self, jobs: list[Job], stream: TextIO):
        self.labels = {job.name: f"[{i}/{len(jobs)}] {job.name}" for i, job in enumerate(jobs, 1)}
        self.stream, self.started, self.printed, self.before = stream, time.monotonic(), time.monotonic(), None
        redraws = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        # The empty bar has tqdm cut what is longer than the terminal's line.
        self.bar = tqdm(file=stream, bar_format="{desc}{bar:b}", dynamic_ncols=True, leave=False, disable=not redraws)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def say(self, job: Job, text: str) -> None:
        """Print a line that stays."""
        tqdm.write(f"{self.labels[job.name]}  {text}", file=self.stream)
        self.stream.flush()

    def show(self, states: dict[str, str], left: str) -> None:
        """The states of the running notebooks, by name, and the time left for all."""
        words = [f"{name.split('_')[0]} {state}" for name, state in states.items()]
        text = " | ".join([f"{clock(time.monotonic() - self.started)} so far, {left}", *words])
        self.bar.set_description_str(text)
        if self.bar.disable and words != self.before and time.monotonic() - self.printed >= LINE_EVERY:
            self.printed, self.before = time.monotonic(), words
            print(text, file=self.stream, flush=True)


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
            values, folder = ", ".join(defaults.as_arguments(job.played)), from_here(job.figures)
            lines.append(f"{job.name} was played with {values}: figures in {folder}, and no claims kept")
    folders = {job.figures: job.products for job in jobs}
    lines += [f"Figures: {', '.join(map(from_here, folders))}"]
    lines += [f"Notebooks as HTML: {', '.join(map(from_here, folders.values()))}"]
    if failed := sum(end.status == "FAILED" for end in ends.values()):
        lines.append(f"{failed} of {len(jobs)} failed. A rerun executes these again and skips what is done.")
    return "\n".join(lines)


def from_here(path: Path) -> str:
    """``path`` relative to the working directory if it is inside."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
