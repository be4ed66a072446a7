"""The runs that come with the checkout are what this code gives: a change that makes them stale is seen at once."""

import pytest

from eureka_lib import paths
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.audit import beginning, first_differences, is_close, same_kind
from eureka_lib.store import RunStore, released
from eureka_lib.store.contents import entries

FOLDER = paths.ROOT / "figures" / "runs"
ARCHIVES = sorted(released.listed(FOLDER))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The released runs by archive, all of them verified."""
    found = {}
    for entry in entries(RunStore(tmp_path_factory.mktemp("none"), FOLDER).released().values(), weights=True):
        assert entry.run, f"{entry.folder}: {entry.problem}"
        found.setdefault(entry.folder.root.filename.rsplit("/")[-1], []).append(entry.run)
    return found


def test_the_archives_are_those_that_are_listed():
    assert ARCHIVES and not [problem for _, problem in released.verify(FOLDER) if problem]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 25 * 2**20


def test_every_run_is_found_by_its_experiment(runs):
    assert {*runs} == {*ARCHIVES}
    for run in sum(runs.values(), []):
        assert Experiment.from_config(run.config).key == run.key


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_first_evaluations_of_one_run(runs, archive):
    run = min(runs[archive], key=lambda run: (run.config["training"]["evaluate_every"], run.key))
    history = beginning(Experiment.from_config(run.config))
    if same_kind(run):
        assert run.history[: len(history)].equals(history)
    assert is_close(first_differences(run, history)), run.config
