"""Short runs of a study, all methods and seeds, with kept weights; a module of tests names its study in ``STUDY``."""

import pytest


@pytest.fixture(scope="module")
def regime(request):
    """The study at profile smoke."""
    from eureka_lib.experiments import profiles

    return getattr(profiles.get("smoke"), request.module.STUDY)


@pytest.fixture(scope="module")
def groups(regime):
    """Its experiments by method."""
    short = {"steps": 6, "evaluate_every": 2, "test_samples": 50}
    return {method: [e.vary(**short) for e in experiments] for method, experiments in regime.groups().items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Where its runs are kept."""
    from eureka_lib.store import RunStore

    return RunStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def runs(groups, store):
    """Its runs by method."""
    from eureka_lib.experiments.run import run

    return {method: [run(e, store, weights_every=2) for e in experiments] for method, experiments in groups.items()}
