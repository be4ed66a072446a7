"""Progress and time left, for whoever is looking.

A person in a notebook or a terminal sees a tqdm bar; a headless run (papermill, nbval, CI: the environment variable
``EUREKA_HEADLESS`` is set) prints one plain line at a time, because a stored bar is stuck and a carriage return fills
logs. Either way, if ``EUREKA_STATUS`` names a file, the newest such line is also written there, which is how
``run_all.sh`` knows what a notebook is doing.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from tqdm.auto import tqdm

from eureka_lib.paths import write_atomically

KNOWN_FROM = 0.05


def headless() -> bool:
    """True if nobody looks on while this process runs."""
    return bool(os.environ.get("EUREKA_HEADLESS"))


def clock(seconds: float) -> str:
    """Seconds as ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, secs = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class Progress:
    """Shows how much of a long piece of work is done: ``with Progress("training", total) as p: p.update(done)``.

    ``total`` is in any unit (training steps, say); ``lines`` is how many plain lines a headless run prints at most.
    Time left is not told before ``KNOWN_FROM`` of it is done, since a start says little.
    """

    def __init__(self, title: str, total: float, lines: int = 10):
        self.title, self.total, self.lines = title, total, lines
        self.started, self.printed = time.monotonic(), 0

    def __enter__(self) -> "Progress":
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self.bar = None if headless() else tqdm(total=self.total, desc=self.title, bar_format=layout)
        self.update(0)
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, done: float, note: str = "") -> None:
        """Say that ``done`` of ``total`` is done; ``note`` is a few words on the state."""
        fraction = min(done / self.total, 1.0) if self.total else 1.0
        elapsed = time.monotonic() - self.started
        left = elapsed * (1 - fraction) / fraction if fraction >= KNOWN_FROM else None
        words = ", ".join(filter(None, [note, None if left is None else f"{clock(left)} left"]))
        if self.bar is not None:
            self.bar.n = min(done, self.total)
            self.bar.set_postfix_str(words)  # which draws it
        line = f"{self.title}: {fraction:4.0%}{words and ', '}{words}"
        if self.bar is None and int(fraction * self.lines) > self.printed:
            self.printed = int(fraction * self.lines)
            print(line, flush=True)
        if target := os.environ.get("EUREKA_STATUS"):
            with suppress(OSError):  # a full disk may end nothing that goes on elsewhere
                write_atomically(Path(target), line.encode())

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        tqdm.write(f"{self.title}: {text}")
        sys.stdout.flush()
