"""The run store's command line: list, verify, export, prune and merge, on stores with sound and damaged runs."""

import csv
import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
import safetensors.torch

from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import sweep
from eureka_lib.store import RunStore, key_of, runs as store_module
from eureka_lib.store.__main__ import main
from eureka_lib.store.table import matching


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A store with three runs: two seeds, and one with NormSoftmax that keeps its weights too."""
    from eureka_lib.experiments import profiles

    store = RunStore(tmp_path_factory.mktemp("three") / "runs")
    base = profiles.get("smoke").live.vary(steps=8, evaluate_every=4, test_samples=50)
    sweep([base, base.vary(seed=1)], InProcess(), store)
    run(base.vary(attention="norm_softmax"), store, weights_every=4)
    return store


@pytest.fixture
def copy(three, tmp_path):
    """A store of one's own to damage, with the same runs."""
    subprocess.run(["cp", "-r", three.folder, tmp_path / "runs"], check=True)
    return RunStore(tmp_path / "runs")


def call(store, *words):
    return main([*map(str, words), "--store", str(store.folder)])


def flip(path):
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# --- Data alone ------------------------------------------------------------------------------------------------------


def test_a_runs_files_are_read_and_verified_without_this_library(three):
    """By ``sha256sum``, the readers of JSON and CSV, and that of safetensors, which holds numbers only."""
    for key in three.keys():
        folder = three.folder / key
        names = {path.name for path in folder.iterdir()}
        assert {name for name in names if not name.startswith("step_")} == {
            "SHA256SUMS", "config.json", "history.csv", "meta.json",
        }  # fmt: skip
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
        assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(names) - 1
        assert json.loads((folder / "config.json").read_text())["training"]["steps"] == 8
        assert json.loads((folder / "meta.json").read_text())["status"] == "finished"
        assert [row["step"] for row in csv.DictReader(open(folder / "history.csv"))] == ["0", "4", "8"]
        for path in folder.glob("step_*"):
            assert safetensors.torch.load(path.read_bytes())


# --- list and export -------------------------------------------------------------------------------------------------


def test_list_shows_what_differs(three, capsys):
    assert call(three, "list") == 0
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["key", "model_seed", "data_seed", "model.attention", "eureka_moment",
                              "eureka_step", "last.test_accuracy"]  # fmt: skip
    assert len(rows) == 3 and last == f"3 runs in {three.folder}"


@pytest.mark.parametrize(
    ("conditions", "n"),
    [(["attention=norm_softmax"], 1), (["model_seed=1"], 1), (["model.attention=*softmax", "steps=8"], 3),
     (["scale=None"], 3), (["status=diverged"], 0), (["eureka_moment=False"], 3), (["steps=8.0", "steps=x"], 0)],
)  # fmt: skip
def test_conditions(three, capsys, conditions, n):
    assert call(three, "list", *conditions) == 0
    assert f"{n} runs in" in capsys.readouterr().out


def test_exports_are_tidy_and_the_same_in_both_formats(three, tmp_path):
    for name in ("runs", "evaluations"):
        options = ["--histories"] if name == "evaluations" else []
        for ending in ("csv", "parquet"):
            assert call(three, "export", tmp_path / f"{name}.{ending}", "scale=None", *options) == 0
        table, parquet = pd.read_csv(tmp_path / f"{name}.csv"), pd.read_parquet(tmp_path / f"{name}.parquet")
        assert list(table) == list(parquet)
        for column in table:
            assert table[column].isna().equals(parquet[column].isna()), column
            assert table[column].dropna().tolist() == parquet[column].dropna().tolist(), column
    runs = pd.read_csv(tmp_path / "runs.csv").set_index("key")
    evaluations = pd.read_csv(tmp_path / "evaluations.csv")
    assert len(runs) == 3 and len(evaluations) == 9
    for key in runs.index:
        history = pd.read_csv(three.folder / key / "history.csv")
        mine = evaluations[evaluations["key"] == key].reset_index(drop=True)[list(history)]
        pd.testing.assert_frame_equal(mine, history, check_exact=True)
        assert runs["last.test_accuracy"][key] == history["test_accuracy"].iloc[-1]
        assert runs["training.steps"][key] == 8 and len(runs["meta.history_sha256"][key]) == 64


def test_settings_of_one_name_and_several_kinds_are_text(tmp_path):
    store, history = RunStore(tmp_path), pd.DataFrame({"step": [0], "test_accuracy": [0.5]})
    for value in (1, "many", [1, 2], None):
        config = {"model": {"size": value}}
        store.save(key_of(config), config, history, {"status": "finished"})
    assert call(store, "export", tmp_path / "runs.parquet") == 0
    found = pd.read_parquet(tmp_path / "runs.parquet")["model.size"]
    assert sorted(found.dropna()) == ["1", "[1, 2]", "many"] and found.isna().sum() == 1


# --- verify, prune, merge --------------------------------------------------------------------------------------------


def test_verify_finds_every_flipped_bit(copy, capsys):
    """In every kind of file, weights too; nothing is changed by looking."""
    assert call(copy, "verify") == 0
    assert "3 runs in" in capsys.readouterr().out
    (kept,) = (copy.folder / key for key in copy.keys() if list((copy.folder / key).glob("step_*")))
    for path in kept.iterdir():
        good = path.read_bytes()
        flip(path)
        assert call(copy, "verify") == 1
        text = capsys.readouterr().out
        assert text.startswith(f"{kept.name}: ") and "2 runs" in text and "1 are not" in text, path.name
        path.write_bytes(good)
    assert call(copy, "verify") == 0


def test_damaged_runs_are_left_out_and_said(copy, capsys):
    flip(copy.folder / copy.keys()[0] / "history.csv")
    assert call(copy, "list") == 0
    found = capsys.readouterr()
    assert "2 runs in" in found.out and "1 damaged runs are left out" in found.err


def test_prune_says_what_and_removes_only_with_yes(copy, capsys):
    damaged, *others = copy.keys()
    flip(copy.folder / damaged / "config.json")
    for name, age in ((".partial/old", 2), (".partial/new", 0), (".progress/old", 2), ("damaged/one", 0)):
        path = copy.folder / name
        path.mkdir(parents=True)
        os.utime(path, (time.time() - age * 24 * 3600,) * 2)
    (copy.folder / "unfinished").mkdir()
    for key in (others[0], "0" * 16):
        (copy.folder / "unfinished" / f"{key}.safetensors").touch()
    for yes in ([], ["--yes"]):
        assert call(copy, "prune", *yes) == 0
        text = capsys.readouterr().out
        named = [line.split()[0] for line in text.splitlines()[:-1]]
        assert sorted(named) == sorted(
            ["damaged/one", damaged, ".partial/old", ".progress/old", f"unfinished/{others[0]}.safetensors"]
        )
    assert text.endswith("5 removed\n")
    assert copy.keys() == others and call(copy, "verify") == 0
    assert (copy.folder / ".partial" / "new").exists() and len(list((copy.folder / "unfinished").iterdir())) == 1


def test_prune_removes_runs_by_condition(copy):
    assert call(copy, "prune", "attention=norm_softmax", "--yes") == 0
    assert len(copy.keys()) == 2


def test_runs_of_another_results_version_are_told_apart_and_pruned(copy, capsys, monkeypatch):
    now = store_module.RESULTS_VERSION
    monkeypatch.setattr(store_module, "RESULTS_VERSION", now + 1)
    assert call(copy, "verify") == 1
    assert capsys.readouterr().out.count(f"it is of results version {now}, and now it is {now + 1}") == 3
    assert call(copy, "prune", "--yes") == 0 and not copy.keys()


def test_merge_copies_what_is_sound_and_missing_and_replaces_nothing(copy, three, tmp_path, capsys):
    mine = RunStore(tmp_path / "mine")
    here, damaged, *_ = copy.keys()
    mine.put(here, {p.name: p.read_bytes() for p in (copy.folder / here).iterdir()})
    flip(copy.folder / damaged / "meta.json")
    (copy.folder / copy.keys()[2] / "evil.pkl").write_bytes(b"not a file of a run")
    assert call(mine, "merge", copy.folder) == 1
    text = capsys.readouterr().out
    assert f"{damaged}: damaged: its meta.json does not match" in text
    assert "1 already here" in text and "1 copied" in text and "1 damaged" in text
    assert mine.keys() == sorted(set(copy.keys()) - {damaged}) and call(mine, "verify") == 0
    assert not list(mine.folder.rglob("*.pkl"))
    assert call(mine, "merge", three.folder) == 0
    assert mine.keys() == three.keys() and call(mine, "verify") == 0


def test_merge_says_where_histories_differ_and_keeps_its_own(copy, tmp_path, capsys):
    mine, key = RunStore(tmp_path / "mine"), copy.keys()[0]
    config = json.loads((copy.folder / key / "config.json").read_text())
    kept = mine.save(key, config, pd.DataFrame({"step": [0], "test_accuracy": [0.25]}), {"status": "finished"})
    assert call(mine, "merge", copy.folder) == 0
    assert f"{key}: already here, with another history" in capsys.readouterr().out
    assert mine.load(key).history.equals(kept.history)


# --- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsit"], "invalid choice: 'lsit'"),
        (["list", "attenton=softmax"], "unknown column 'attenton'"),
        (["list", "name=two_step"], "which name: task.name or model.name?"),
        (["list", "softmax"], "a condition is NAME=VALUE, for example status=diverged; got 'softmax'"),
        (["verify", "steps=8"], "unrecognized arguments: steps=8"),
        (["export"], "the following arguments are required: file"),
        (["export", "runs.xlsx"], "unknown ending '.xlsx': allowed are .csv, .parquet"),
        (["merge", "/no/such/folder"], "merge needs the folder of another store, got /no/such/folder"),
        (["list", "--store", "/no/such/store"], "there is no run store in /no/such/store"),
    ],
)
def test_mistakes_are_named(three, capsys, words, message):
    store = [] if "--store" in words else ["--store", str(three.folder)]
    with pytest.raises(SystemExit) as stopped:
        main([*words, *store])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_parquet_without_pyarrow_says_what_to_install(three, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SystemExit):
        call(three, "export", tmp_path / "runs.parquet")
    assert "Parquet needs pyarrow: pip install 'eureka-lib[parquet]', or write a .csv" in capsys.readouterr().err


def test_conditions_on_no_runs_at_all():
    assert matching(pd.DataFrame(), {"anything": "1"}).empty
