"""What a person sees of a sweep: in a terminal, in a notebook, and when nothing goes on."""

import json
import re
from concurrent.futures import Future

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from watching import experiments

from eureka_lib import follow
from eureka_lib.follow import Note, Tally, Task
from eureka_lib.pools import InProcess
from eureka_lib.runs import RunStore
from eureka_lib.sweep import SweepError, sweep

JUMP = pd.DataFrame({"step": [0, 5, 10, 15], "test_accuracy": [0.1, 0.9, 0.95, 1.0]})


@pytest.fixture
def three(store):
    """Three experiments: the first is stored and had its Eureka-moment, the last cannot be trained."""
    first, second, third = experiments(3)
    store.save(first.key, first.config(), JUMP, {"status": "finished"})
    return [first, second, third.vary(patch=5)]


def test_the_bar_in_a_terminal(three, store, monkeypatch, capsys):
    monkeypatch.delenv("EUREKA_HEADLESS")
    with pytest.raises(SweepError):
        sweep(three, InProcess(), store, "three")
    states = capsys.readouterr().err.split("\r")
    assert any(re.search("0/2 done, 1 running, 1 stored, [01] failed, 1 EMs", state) for state in states)
    assert "three 100%" in states[-1] and "1/2 done, 0 running, 1 stored, 1 failed, 1 EMs" in states[-1]


def test_lines_where_nobody_looks_on(three, store, capsys):
    with pytest.raises(SweepError):
        sweep(three, InProcess(), store, "three")
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "three: 3 runs, 1 of them stored, 2 to train" and len(lines) <= 11
    assert last == "three: 100%, 1/2 done, 0 running, 1 stored, 1 failed, 1 EMs, 0:00 left"


def test_the_bar_in_a_notebook(tmp_path, monkeypatch):
    """A widget, whose last state the executed notebook keeps."""
    monkeypatch.delenv("EUREKA_HEADLESS")
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path))
    source = (
        "from eureka_lib import profiles\nfrom eureka_lib.pools import InProcess\nfrom eureka_lib.sweep import sweep\n"
        "base = profiles.get('smoke').cheap.base.vary(steps=4, evaluate_every=2, test_samples=20)\n"
        "len(sweep([base, base.vary(seed=1)], InProcess()))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    executed = NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert executed.cells[0].outputs[-1].data["text/plain"] == "2"
    assert any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in executed.cells[0].outputs)
    state = json.dumps(executed.metadata.widgets, ensure_ascii=False).replace("\u2007", " ")  # spaces as wide as digits
    assert "2/2 done, 0 running, 0 stored, 0 failed, 0 EMs" in state


def test_it_says_once_that_nothing_runs(tmp_path, capsys, monkeypatch):
    """As on a cluster that has no workers (yet); and again if that comes again."""
    monkeypatch.setattr(follow, "IDLE_SECONDS", 0)
    (experiment,) = experiments(1)
    tally = Tally("idle", [Task([experiment], [experiment.key], tmp_path, 0, Note(tmp_path / experiment.key))], [])
    tally.open[Future()] = next(iter(tally.notes.values()))
    with tally.progress:
        for _ in range(3):
            tally.look()
        assert capsys.readouterr().out.count("idle: nothing has run for 0 s: 1 tasks wait for workers") == 1
        with next(iter(tally.notes)).open("w") as note:
            note.write("3")
        tally.look()
        assert tally._under_way() and not tally.idle


def test_a_worker_that_has_fallen_silent_does_not_count_as_running(tmp_path, monkeypatch):
    (experiment,) = experiments(1)
    note = Note(tmp_path / experiment.key)
    tally = Tally("silent", [Task([experiment], [experiment.key], tmp_path, 0, note)], [])
    note.leave()  # and never again
    assert len(tally._under_way()) == 1
    monkeypatch.setattr(follow, "SILENT_SECONDS", 0)
    assert tally._under_way() == []


def test_a_training_says_that_it_lives_between_its_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "BEAT_SECONDS", 0.01)
    note = Note(tmp_path / "note")
    with note:
        first = note.path.stat().st_mtime_ns
        while note.path.stat().st_mtime_ns == first:
            pass
    assert not note.path.exists() and not RunStore(tmp_path).keys()
