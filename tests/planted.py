"""Runs whose answer is known: on the plateau until a planted Eureka-moment."""

from pathlib import Path

import pandas as pd

from eureka_lib.attention.registry import changes_of
from eureka_lib.measure.subjects import Subject
from eureka_lib.store import Run


def planted(experiment, jump_at, steps=range(0, 1050, 50), final=0.97, **columns):
    """At 0.55 until ``jump_at``, at ``final`` from there on; weights were kept at all ``steps``, it says."""
    accuracy = [final if step >= jump_at else 0.55 for step in steps]
    history = pd.DataFrame({"step": steps, "test_accuracy": accuracy, **columns})
    meta = {"status": "finished", "weights_sha256": {str(step): "" for step in steps}}
    return Run(Path(experiment.key), experiment.config(), history, meta)


def group(base, method, *jumps, **options):
    """A method's runs, a seed for each of ``jumps``."""
    return [planted(base.vary(seed=seed, **changes_of(method)), jump, **options) for seed, jump in enumerate(jumps)]


def subjects(base, *jumps, **options):
    """Runs with their experiments, a seed for each of ``jumps``."""
    experiments = [base.vary(seed=seed) for seed, _ in enumerate(jumps)]
    return [Subject(e, planted(e, jump, **options)) for e, jump in zip(experiments, jumps, strict=True)]
