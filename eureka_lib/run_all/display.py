"""What a person sees of a run: one line per notebook, and a summary.

On a terminal the lines of the running notebooks are redrawn in place. Elsewhere, a log file or CI, a line is printed
at the start, at the end, and in between every ``LINE_EVERY`` seconds at most.
"""

import os
import shutil
import time
from pathlib import Path
from typing import TextIO

from eureka_lib.experiments import defaults
from eureka_lib.progress import clock
from eureka_lib.run_all.child import Outcome
from eureka_lib.run_all.jobs import Job

LINE_EVERY = 15


class Display:
    """The lines of a run's jobs on a stream."""

    def __init__(self, jobs: list[Job], stream: TextIO):
        self.labels = {job.name: f"[{i}/{len(jobs)}] {job.name}" for i, job in enumerate(jobs, 1)}
        self.stream, self.redraws = stream, stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.drawn: list[str] = []  # the lines on the screen that will be redrawn
        self.printed: dict[str, tuple[float, str]] = {}  # when and what was last printed of each notebook
        self.started = time.monotonic()

    def line(self, job: Job, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        self.printed[job.name] = time.monotonic(), ""
        print(f"{self.labels[job.name]}  {text}", file=self.stream, flush=True)

    def update(self, states: dict[str, dict], left: str) -> None:
        """Show the states of the running notebooks, by name, and the time left for all."""
        lines = {name: f"{self.labels[name]}  {state_text(state)}" for name, state in states.items()}
        overall = f"{clock(time.monotonic() - self.started)} so far, {left}"
        if self.redraws:
            self._redraw([*lines.values(), f"All: {overall}"] if lines else [])
            return
        for name, text in lines.items():
            then, before = self.printed[name]
            if text != before and time.monotonic() - then >= LINE_EVERY:
                self.printed[name] = time.monotonic(), text
                print(f"{text}  (all: {overall})", file=self.stream, flush=True)

    def _redraw(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be taken back
        lines = [line[:width] for line in lines]
        if lines != self.drawn:
            self.clear()
            self.stream.write("".join(f"{line}\n" for line in lines))
            self.stream.flush()
            self.drawn = lines

    def clear(self) -> None:
        """Take the redrawn lines off the screen."""
        if self.drawn:
            self.stream.write(f"\r\x1b[{len(self.drawn)}A\x1b[J")  # the return, because Ctrl-C prints ^C
        self.drawn = []


def state_text(state: dict) -> str:
    """``cell 6/15  training: 3 of 11 runs  43%  1:40 left``, or as much of it as is known."""
    parts = [f"cell {state['number']}/{state['total']}" if "number" in state else "starting", state.get("text")]
    if state.get("fraction") is not None:
        parts.append(f"{state['fraction']:.0%}")
    if state.get("seconds_left"):
        parts.append(f"{clock(state['seconds_left'])} left")
    return "  ".join(filter(None, parts))


def outcome_text(outcome: Outcome) -> str:
    """How a notebook ended, in one line."""
    if outcome.status != "FAILED":
        return f"{outcome.status} in {clock(outcome.seconds)}"
    return f"FAILED after {clock(outcome.seconds)}: {reason_text(outcome)}"


def reason_text(outcome: Outcome) -> str:
    """Where and why a notebook failed; empty if it did not."""
    return f"{outcome.cell}: {outcome.error}" if outcome.cell else outcome.error


def summary(jobs: list[Job], outcomes: list[Outcome]) -> str:
    """The closing words: how each notebook ended, and where things are."""
    ends = {job.name: Outcome(job.name, "not done") for job in jobs} | {each.name: each for each in outcomes}
    width = max(map(len, ends))
    lines = ["", "Summary"]
    for end in ends.values():
        took = clock(end.seconds) if end.seconds else ""
        lines.append(f"  {end.status:<10}  {end.name:<{width}}  {took:>7}  {reason_text(end)}".rstrip())
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
