"""Many notebooks: starts a process for each, watches them, and ends them all if the run is stopped.

The library inside a notebook writes its progress to the file that ``EUREKA_STATUS`` names, the child which cell it is
at; the parent only reads both.
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

from eureka_lib.progress import clock
from eureka_lib.run_all.child import Outcome
from eureka_lib.run_all.display import Display, outcome_text
from eureka_lib.run_all.jobs import Job
from eureka_lib.run_all.records import read_json, seconds_before, why_run, write_atomically
from eureka_lib.run_all.surroundings import secluded


class Child:
    """A running notebook: its process, what is known of its progress, and how it ended."""

    def __init__(self, job: Job):
        self.job, self.before, self.started = job, seconds_before(job), time.monotonic()
        self.scratch = Path(tempfile.mkdtemp(prefix="eureka-"))
        write_atomically(self.scratch / "job.json", json.dumps(asdict(job)))
        with open(self.scratch / "log.txt", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eureka_lib.run_all", "--child", str(self.scratch)],
                stdin=subprocess.PIPE,  # when it closes, the child ends
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(job, self.scratch),
                start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the children in order
            )

    def state(self) -> dict:
        """What is known of the progress: number and total (of cells), text, fraction, seconds_left."""
        return (read_json(self.scratch / "cell.json") or {}) | (read_json(self.scratch / "status.json") or {})

    def seconds_left(self) -> float | None:
        """By the notebook's own word, else by the time it took before; None if neither is known."""
        says = self.state().get("seconds_left")
        if says is not None or self.before is None:
            return says
        return max(self.before - (time.monotonic() - self.started), 0.0)

    def outcome(self) -> Outcome | None:
        """How it ended, None as long as it runs. A process that left no outcome has failed."""
        if self.process.poll() is None:
            return None
        found = read_json(self.scratch / "outcome.json")
        if found and self.process.returncode == 0:
            return Outcome(**found)
        last = (self.scratch / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        error = f"its process ended with status {self.process.returncode}: {''.join(last)}"
        return Outcome(self.job.name, "FAILED", time.monotonic() - self.started, error=error)

    def stop(self) -> None:
        """End the process, and with it the kernel, if it still runs; leave no traces."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _environment(job: Job, scratch: Path) -> dict[str, str]:
    ours = {"EUREKA_PROFILE": job.profile, "EUREKA_HEADLESS": "1", "EUREKA_STATUS": str(scratch / "status.json")}
    return secluded(os.environ, scratch) | ours


def execute_all(jobs: list[Job], workers: int, force: bool, display: Display) -> Iterator[Outcome]:
    """Execute the jobs that need it, ``workers`` at a time, and yield each outcome as it comes.

    Notebooks that read others' claims come last, when those have been made.
    """
    yield from _execute([job for job in jobs if not job.reads_claims], workers, force, display)
    yield from _execute([job for job in jobs if job.reads_claims], workers, force, display)


def _execute(jobs: list[Job], workers: int, force: bool, display: Display) -> Iterator[Outcome]:
    waiting, running = [], []
    for job in jobs:
        if reason := "--force" if force else why_run(job):
            waiting.append((job, reason))
        else:
            display.line(job, "up to date, so not executed; --force executes it all the same")
            yield Outcome(job.name, "up to date")
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
                    display.line(child.job, outcome_text(outcome))
                    yield outcome
            left = time_left(running, [job for job, _ in waiting], workers)
            display.update({child.job.name: child.state() for child in running}, left)
            time.sleep(0.2 if running else 0)
    finally:
        display.clear()
        for child in running:
            child.stop()


def time_left(running: list[Child], waiting: list[Job], workers: int) -> str:
    """Time left for all notebooks, and how many could not be counted, in words."""
    estimates = [child.seconds_left() for child in running] + [seconds_before(job) for job in waiting]
    known = [seconds for seconds in estimates if seconds is not None]
    unknown = len(estimates) - len(known)
    if not known:
        return "time left not known yet"
    plus = f", and {unknown} not executed before" if unknown else ""
    return f"about {clock(sum(known) / min(workers, len(estimates)))} left{plus}"
