"""What several tests need."""

import linecache

import pytest


@pytest.fixture
def store(tmp_path):
    """An empty run store."""
    from eureka_lib.store import RunStore

    return RunStore(tmp_path / "runs")


@pytest.fixture
def tiny():
    """The smoke profile's ViT experiment, cut to a second."""
    from eureka_lib.experiments import profiles

    return profiles.get("smoke").live.vary(steps=12, evaluate_every=4, test_samples=100)


@pytest.fixture
def goes_on_exactly(store, tmp_path, capsys, monkeypatch):
    """A check: a training that is interrupted continues, to the very history of one that is not."""
    import pandas as pd

    from eureka_lib.experiments import trainer
    from eureka_lib.experiments.run import run
    from eureka_lib.store import RunStore

    def check(experiment, interrupted, continued):
        def interrupt(history):
            if history["step"].iloc[-1] == interrupted:
                raise KeyboardInterrupt

        monkeypatch.setattr(trainer, "SAVE_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            run(experiment, store, on_evaluation=interrupt)
        found = run(experiment, store)
        assert f"continuing from step {continued}" in capsys.readouterr().out
        undisturbed = run(experiment, RunStore(tmp_path / "other"))
        pd.testing.assert_frame_equal(found.history, undisturbed.history, check_exact=True)

    return check


@pytest.fixture
def house_style():
    """Figures look as the notebooks' do, and none stays open."""
    import matplotlib.pyplot as plt

    from eureka_lib.plots.style import use_style

    use_style()
    yield
    plt.close("all")


OWN = """
import sys
from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.store import RunStore
from eureka_lib.experiments.sweep import sweep
from watching import experiments
SMALL = 1e-6
def own(logits, scale, *, learned):
    weights = (logits * scale * learned).relu() + SMALL
    return weights / weights.sum(dim=-1, keepdim=True)
def with_own(executor, folder):
    METHODS["own"] = Method(own, learned=1.0)
    return sweep([e.vary(attention="own") for e in experiments(2)], executor, RunStore(folder))
"""


@pytest.fixture
def own():
    """What a script or a notebook defines in ``__main__``: nobody can import it."""
    names = {"__name__": "__main__"}
    linecache.cache["<own>"] = (len(OWN), None, OWN.splitlines(keepends=True), "<own>")
    exec(compile(OWN, "<own>", "exec"), names)
    yield names
    names["METHODS"].pop("own", None)


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Runs of two methods and seeds, their weights kept at 0, 4, ..., 20, and the gradients of these on one batch.

    The first one's history has a plateau and a jump planted.
    """
    from dataclasses import replace
    from types import SimpleNamespace

    from eureka_lib.attention.registry import changes_of
    from eureka_lib.experiments import profiles
    from eureka_lib.experiments.run import run
    from eureka_lib.measure.gradients import diagnose_runs
    from eureka_lib.measure.subjects import Subject
    from eureka_lib.store import RunStore
    from eureka_lib.tasks.protocol import evaluation_generator

    store = RunStore(tmp_path_factory.mktemp("kept"))
    short = profiles.DIGITS_VIT.vary(steps=20, batch_size=32, evaluate_every=4, warmup_steps=5, test_samples=100)
    experiments = [short.vary(**changes_of(name), seed=seed) for name in ("softmax", "norm_softmax") for seed in (0, 1)]
    runs = [run(experiment, store, weights_every=4) for experiment in experiments]
    jumped = runs[0].history.assign(test_accuracy=[0.1, 0.55, 0.55, 0.8, 0.9, 0.9])
    runs[0] = replace(runs[0], history=jumped)
    subjects, task = list(map(Subject, experiments, runs)), short.build_task()
    batch = task.sample(evaluation_generator("cpu"), 100, "test")
    table = diagnose_runs(subjects, task, batch)
    return SimpleNamespace(subjects=subjects, runs=runs, task=task, batch=batch, table=table)


@pytest.fixture(scope="session")
def probed(tmp_path_factory):
    """A run of a few steps that kept its weights, and the table of all that probes are asked of it."""
    from types import SimpleNamespace

    import pandas as pd

    from eureka_lib.experiments import profiles
    from eureka_lib.experiments.run import run
    from eureka_lib.measure.probes import Job, answer
    from eureka_lib.measure.subjects import Subject
    from eureka_lib.store import RunStore

    short = {"steps": 20, "batch_size": 32, "evaluate_every": 10, "warmup_steps": 5, "test_samples": 200}
    experiment = profiles.DIGITS_VIT.vary(depth=2, **short)
    store = RunStore(tmp_path_factory.mktemp("probed"))
    subject = Subject(experiment, run(experiment, store, weights_every=10))
    jobs = [Job(subject, step, ("training", "code", "map", "checks", "claims")) for step in (0, 20)]
    jobs.append(Job(subject, 10, ("claims",)))
    return SimpleNamespace(subject=subject, table=pd.concat([answer(job, 100) for job in jobs], ignore_index=True))
