"""Released runs: a layer under the store that is only read, found by the same keys, and never used if it is damaged."""

import os
import warnings
import zipfile
from dataclasses import replace

import pytest

from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import sweep
from eureka_lib.store import RESULTS_VERSION, RunStore, released, runs as store_module
from eureka_lib.store.__main__ import main
from eureka_lib.store.contents import behind_figures, release


@pytest.fixture
def experiments(tiny):
    short = tiny.vary(steps=4, evaluate_every=2, test_samples=50)
    return [short, short.vary(seed=1)]


@pytest.fixture
def archives(experiments, store, tmp_path):
    """Two runs, one of which has kept its weights, released."""
    kept = [run(experiments[0], store, weights_every=2), run(experiments[1], store)]
    assert release(store, {"01_name": {r.key: () for r in kept}}, tmp_path / "archives") == {"01_name": []}
    return tmp_path / "archives"


@pytest.fixture
def clone(archives, tmp_path):
    """The store of somebody else, with the released runs under it."""
    return RunStore(tmp_path / "clone", archives)


def damage(path, near):
    """Flip a bit of what stands at ``near`` in a file."""
    data = bytearray(path.read_bytes())
    data[data.index(near)] ^= 1
    path.write_bytes(data)


def test_released_runs_are_found_by_the_same_keys_and_copied_nowhere(experiments, store, clone, capsys):
    found = sweep(experiments, InProcess(), clone)
    assert "2 runs, 2 of them stored (2 released with the checkout), 0 to train" in capsys.readouterr().out
    for mine, theirs in zip(found, sweep(experiments, InProcess(), store), strict=True):
        assert mine.released and not theirs.released
        assert mine.history.equals(theirs.history) and mine.config == theirs.config
    assert found[0].weight_steps == []  # the weights are not released
    assert not clone.folder.exists()


def test_one_that_is_trained_here_comes_before_the_released_one(experiments, clone):
    assert run(experiments[0], clone).released
    trained = run(experiments[0], clone, weights_every=2)  # which the released one does not have
    assert not trained.released and trained.weight_steps == [0, 2, 4]
    assert not run(experiments[0], clone).released


def test_a_store_that_is_named_has_no_released_runs_under_it(archives, tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_RELEASED", str(archives))
    assert len(RunStore().released()) == 2 and RunStore(tmp_path / "other").released() == {}


def test_the_same_runs_give_the_same_bytes_and_none_of_them_is_a_date(archives, store, tmp_path, monkeypatch):
    again = tmp_path / "again"
    monkeypatch.setattr("time.time", lambda: 2e9)
    release(store, {"01_name": dict.fromkeys(reversed(store.keys()), ())}, again)
    for name in ("01_name.zip", "SHA256SUMS"):
        assert (archives / name).read_bytes() == (again / name).read_bytes()
    with zipfile.ZipFile(archives / "01_name.zip") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_what_is_released_can_be_released_again_from_a_clone(archives, clone, tmp_path):
    release(clone, {"01_name": dict.fromkeys(clone.released(), ())}, tmp_path / "again")
    assert (archives / "01_name.zip").read_bytes() == (tmp_path / "again" / "01_name.zip").read_bytes()


def test_an_archive_of_which_nothing_is_left_goes(archives, store):
    assert release(store, {"02_name": dict.fromkeys([*store.keys(), "0" * 16], ())}, archives) == {
        "02_name": ["0" * 16]
    }
    assert [path.name for path in archives.glob("*.zip")] == ["02_name.zip"]


def test_a_flipped_bit_is_said_and_the_run_is_trained(experiments, archives, clone):
    damage(archives / "01_name.zip", b"train_loss")  # in the first run's history
    (first, second) = sorted(experiments, key=lambda e: e.key)
    with pytest.warns(UserWarning, match=f"released run {first.key} cannot be used .*history.csv is damaged"):
        assert not run(first, clone).released
    assert run(second, clone).released


@pytest.mark.parametrize("harm, words", [
    (lambda path: path.unlink(), "No such file"),
    (lambda path: path.write_bytes(path.read_bytes()[:100]), "not a zip file"),
])  # fmt: skip
def test_an_archive_that_is_missing_or_cut_off_is_said(archives, clone, experiments, harm, words):
    harm(archives / "01_name.zip")
    with pytest.warns(UserWarning, match=f"01_name.zip cannot be used .*{words}.*trained instead"):
        assert not run(experiments[0], clone).released


def test_runs_of_another_results_version_are_said_and_not_used(archives, clone, experiments, monkeypatch):
    monkeypatch.setattr(store_module, "RESULTS_VERSION", RESULTS_VERSION + 1)
    with pytest.warns(UserWarning, match=f"of results version {RESULTS_VERSION}, and now it is {RESULTS_VERSION + 1}"):
        assert not run(experiments[0], clone).released


def test_a_file_that_is_missing_inside_is_said(store, clone, experiments, archives):
    files = {name: (store.folder / experiments[1].key / name).read_bytes() for name in ("config.json", "SHA256SUMS")}
    released.write(archives, {"01_name.zip": {experiments[1].key: files}}, RESULTS_VERSION)
    with pytest.warns(UserWarning, match="its history.csv is missing"):
        assert clone.load(experiments[1].key) is None


def test_verify_names_what_is_wrong_with_the_archives(archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "clone"))
    monkeypatch.setenv("EUREKA_RELEASED", str(archives))
    assert main(["verify"]) == 0
    assert "2 released ones" in capsys.readouterr().out
    damage(archives / "01_name.zip", b"train_loss")
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "01_name.zip: does not match the checksum" in out and "history.csv is damaged in the archive" in out


def test_release_and_list_by_the_command_line(store, archives, experiments, tmp_path, monkeypatch, capsys):
    import json

    monkeypatch.setenv("EUREKA_STORE", str(store.folder))
    monkeypatch.setenv("EUREKA_RELEASED", str(tmp_path / "mine"))
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    for name, keys in {"00_start_here": ["a"], "01_name": [experiments[0].key], "02_name": store.keys()}.items():
        facts = {"notebook": name, "runs": [{"keys": list(keys)}], "weights_every": 2 if name == "02_name" else 0}
        (tmp_path / f"{name[:2]}_figure.json").write_text(json.dumps(facts))
    needed = [e.key for e in experiments]
    # the first is 01's, though 02 needs its weights
    assert behind_figures(tmp_path) == {"01_name": {needed[0]: {2}}, "02_name": {needed[1]: {2}}}
    assert main(["release"]) == 1
    assert "02_name: 0 runs; 1 more" in capsys.readouterr().out, "it has kept no weights"
    run(experiments[1], store, weights_every=1)
    assert main(["release"]) == 0
    assert "02_name: 1 runs\n" in capsys.readouterr().out
    released_ones = RunStore(tmp_path / "nowhere", tmp_path / "mine")
    assert {key: released_ones.load(key).weight_steps for key in needed} == dict.fromkeys(needed, [0, 2, 4])
    bare = RunStore(tmp_path / "bare")
    run(experiments[1], bare)
    both = RunStore(bare.folder, tmp_path / "mine")
    assert run(experiments[1], both, weights_every=2).released and not run(experiments[1], both).released
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "clone"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["list"]) == 0
    assert "2 runs in" in capsys.readouterr().out
    os.remove(tmp_path / "02_figure.json")
    (tmp_path / "01_figure.json").write_text(json.dumps({"notebook": "01_name", "runs": [{"keys": ["0" * 16]}]}))
    assert main(["release"]) == 1
    assert "01_name: 0 runs; 1 more are neither stored nor released" in capsys.readouterr().out


def test_runs_of_a_notebooks_own_code_stay_out(store, archives, experiments, monkeypatch):
    loaded = store.load(experiments[0].key)
    own = replace(loaded, config=loaded.config | {"own": {"attention": "a function"}})
    monkeypatch.setattr(RunStore, "load", lambda *_: own)
    assert release(store, {"01_name": {own.key: ()}}, archives) == {"01_name": []}
    assert not list(archives.glob("*.zip"))
