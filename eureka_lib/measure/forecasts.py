"""Early signs of stored runs as a table, and what became of the runs.

A run is a :class:`~eureka_lib.measure.probes.Subject`, since some of the signs are probes'.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from eureka_lib.analysis.forecast import PROBED, SIGNS, early_signs
from eureka_lib.measure.probes import Job, accuracies, answers, probe
from eureka_lib.measure.subjects import Subject

CAME, CAME_NOT, TOO_EARLY = "EM within the budget", "no EM within the budget", "EM before the horizon, left out"
FATES = (CAME, CAME_NOT, TOO_EARLY)


def waiting(subjects: Sequence[Subject], horizon: int) -> list[Subject]:
    """The runs that still wait for their EM at step ``horizon``; there is nothing to forecast of the others.

    Neither is there of one that diverged before. Raises ValueError if none is left.
    """
    left = [subject for subject in subjects if subject.moment.step > horizon]
    if not left:
        last = max(subject.moment.step for subject in subjects)
        raise ValueError(f"no run still waits for its EM at step {horizon}; the horizon must lie before step {last}")
    return left


def signs_table(groups: Mapping[str, Sequence[Subject]], horizon: int, samples: int) -> pd.DataFrame:
    """A row per run that waits at ``horizon``: group, seed, its ``SIGNS``, whether the EM came ("EM") and its "step".

    ``samples`` images each are what the probes learn from and are judged by. Runs without an EM have their last step.
    """
    left = {group: waiting(subjects, horizon) for group, subjects in groups.items()}
    jobs = [Job(subject, horizon, ("forecast",)) for subjects in left.values() for subject in subjects]
    probed = answers(probe(jobs, samples), "forecast")
    tables = [_signs(group, subjects, horizon, probed) for group, subjects in left.items()]
    return pd.concat(tables, ignore_index=True)[["group", "seed", *SIGNS, "EM", "step"]]


def _signs(group: str, subjects: Sequence[Subject], horizon: int, probed: pd.DataFrame) -> pd.DataFrame:
    steps = {subject.seed: horizon for subject in subjects}
    found = {sign: accuracies(probed, steps, "which target", tokens) for sign, tokens in PROBED.items()}
    rows = [
        {"group": group, "seed": s.seed, "EM": s.moment.happened, "step": s.moment.step}
        | early_signs(s.run.history, horizon)
        for s in subjects
    ]
    return pd.DataFrame(rows).assign(**found)


def fate(subject: Subject, horizon: int) -> str:
    """What became of a run, one of ``FATES``."""
    if subject.moment.step <= horizon:
        return TOO_EARLY
    return CAME if subject.moment.happened else CAME_NOT


def fates(groups: Mapping[str, Sequence[Subject]], horizon: int) -> pd.DataFrame:
    """How many runs of each group had their EM, had none, and are left out."""
    counts = {
        group: {name: sum(fate(subject, horizon) == name for subject in subjects) for name in FATES}
        for group, subjects in groups.items()
    }
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("runs")
