"""Runs that kept their weights: which of them, and at which steps, one looks into."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from eureka_lib.analysis.eureka import Moment
from eureka_lib.analysis.gradients import plateau_steps
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.sweep import sweep
from eureka_lib.measure.plateaus import ACCURACY
from eureka_lib.measure.runs import moment_of
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import TwoStepTask

FEWEST = 5  # kept steps, of which four can tell a run's story


@dataclass(frozen=True)
class Subject:
    """A stored run that kept its weights, and its experiment."""

    experiment: Experiment
    run: Run

    @property
    def seed(self) -> int:
        """Of the initial weights."""
        return self.run.config["model_seed"]

    def model(self, step: int, task: TwoStepTask) -> nn.Module:
        """The network as it was at a kept step."""
        return self.experiment.model_at(self.run, step, task)

    @property
    def moment(self) -> Moment:
        """Its Eureka-moment."""
        return moment_of(self.run)

    @property
    def stays(self) -> bool:
        """Whether it never leaves the plateau, not even too late for an Eureka-moment to count."""
        return not self.moment.happened and ACCURACY.late(self.run) is None

    @property
    def halfway(self) -> int:
        """The kept step nearest to half of the time until the EM, or until the end if there is none."""
        return min(self.run.weight_steps, key=lambda step: abs(step - self.moment.step / 2))

    @property
    def end(self) -> int:
        """The last kept step."""
        return self.run.weight_steps[-1]

    @property
    def phases(self) -> dict[str, int]:
        """The three steps that are looked at closely, by their names in the figures."""
        return {"start": 0, "half-way": self.halfway, "end": self.end}

    def checkpoints(self, n: int) -> list[int]:
        """``n`` kept steps, as evenly spaced as they are, first and last among them, and those around the EM.

        All kept steps if there are no more than ``n``. Around the EM are the three before it, itself and the one after.
        """
        kept = self.run.weight_steps
        even = {kept[round(i)] for i in np.linspace(0, len(kept) - 1, min(n, len(kept)))}
        if not self.moment.happened:
            return sorted(even)
        at = int(np.searchsorted(kept, self.moment.step))
        return sorted(even | set(kept[max(at - 3, 0) : at + 2]))

    @property
    def title(self) -> str:
        """Its seed and its EM, in words."""
        moment = self.moment
        what = f"EM at step {moment.step}" if moment.happened else f"no EM by step {moment.step}"
        return f"seed {self.seed}: {what}"


def take_apart(experiments: Sequence[Experiment], weights_every: int, film_every: int) -> list[Subject]:
    """The runs of ``experiments`` with weights kept every so many steps, and those of a typical one more often.

    The typical one is the first of :func:`early_and_late`. What is missing is trained; weights take room.
    """
    subjects = list(map(Subject, experiments, sweep(experiments, title="weights", weights_every=weights_every)))
    filmed = early_and_late(subjects)[0]
    (run,) = sweep([filmed.experiment], title="weights of one run", weights_every=film_every)
    return [replace(subject, run=run) if subject is filmed else subject for subject in subjects]


def by_moment(subjects: Sequence[Subject]) -> list[Subject]:
    """Ordered by their EMs; those without one come last."""
    return sorted(subjects, key=lambda subject: (not subject.moment.happened, subject.moment.step))


def early_and_late(subjects: Sequence[Subject]) -> list[Subject]:
    """A typical run that jumps, and one that stays on the plateau, not even jumping too late, if there is one.

    The typical one has the median EM step of those that jump; it is the first run if none does.
    """
    ordered = by_moment(subjects)
    typical = max(sum(subject.moment.happened for subject in subjects) - 1, 0) // 2
    return [ordered[typical], *[one for one in ordered[typical + 1 :] if one.stays][-1:]]


def telling_steps(run: Run) -> dict[str, int]:
    """Four kept steps of a run, by name: mid-plateau, just before the EM, at the EM (or just after it), and the end.

    A run without an EM, or without enough kept steps around it, has four spread over its budget instead, so that there
    is something to draw. Raises ValueError if it kept fewer than five.
    """
    kept, moment = run.weight_steps, moment_of(run)
    if len(kept) < FEWEST:
        raise ValueError(f"run {run.key} kept its weights at {len(kept)} steps; at least {FEWEST} are needed")
    plateau = sorted(set(kept) & set(plateau_steps(*run.accuracy)))
    after = [step for step in kept if step >= moment.step]
    if not moment.happened or len(plateau) < 2 or len(after) < 2:
        return {f"quarter {i}": kept[i * (len(kept) - 1) // 4] for i in (1, 2, 3, 4)}
    before = kept[kept.index(after[0]) - 1]
    steps = (plateau[(len(plateau) - 1) // 2], before, after[0], kept[-1])
    return dict(zip(("plateau", "before EM", "at the EM", "end"), steps, strict=True))
