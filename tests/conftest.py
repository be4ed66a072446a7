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

    return profiles.get("smoke").vit.vary(steps=12, evaluate_every=4, test_samples=100)


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
