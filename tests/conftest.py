"""Every test session, notebooks under nbval included, runs at profile smoke, headless, in folders of its own."""

import atexit
import os
import shutil
import tempfile

import pytest

_products = tempfile.mkdtemp(prefix="eureka-tests-")
atexit.register(shutil.rmtree, _products, ignore_errors=True)
os.environ.update(
    EUREKA_PROFILE="smoke",
    EUREKA_HEADLESS="1",
    EUREKA_STORE=f"{_products}/runs",
    EUREKA_FIGURES=f"{_products}/figures",
    EUREKA_DATA=f"{_products}/data",
    MPLBACKEND="agg",
)


@pytest.fixture
def store(tmp_path):
    """An empty run store."""
    from eureka_lib.runs import RunStore

    return RunStore(tmp_path / "runs")


@pytest.fixture
def tiny():
    """The smoke profile's ViT experiment, cut to a second."""
    from eureka_lib import profiles

    return profiles.get("smoke").vit.vary(steps=12, evaluate_every=4, test_samples=100)


@pytest.fixture
def house_style():
    """Figures look as the notebooks' do, and none stays open."""
    import matplotlib.pyplot as plt

    from eureka_lib import figures

    figures.use_style()
    yield
    plt.close("all")
