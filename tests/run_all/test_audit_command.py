"""The audit's command: released runs are trained again; it fails if they differ, beside the notebooks as alone."""

import io
import os
import re
import subprocess

import pytest

from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.sweep import sweep
from eureka_lib.run_all import __main__ as run_all, audit
from eureka_lib.store.contents import release
from eureka_lib.store.runs import RunStore


@pytest.fixture
def archives(tiny, store, tmp_path, monkeypatch):
    """Two released runs, under an empty store."""
    runs = sweep([tiny.vary(seed=seed) for seed in range(2)], InProcess(), store)
    release(store, {"01_name": {run.key: () for run in runs}}, tmp_path / "archives")
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "empty"))
    monkeypatch.setenv("EUREKA_RELEASED", str(tmp_path / "archives"))
    return tmp_path / "archives"


def spoil(archives):
    """Release other numbers under the same keys, with right checksums."""
    store, other = RunStore(), RunStore(archives.parent / "other")
    for run in map(store.load, store.released()):
        other.save(run.key, run.config, run.history.assign(train_loss=run.history["train_loss"] + 1), run.meta)
    release(other, {"01_name": dict.fromkeys(other.keys(), ())}, archives)


def test_an_audit_agrees_with_what_this_code_gives(archives, capsys):
    assert audit.main(["--runs", "2", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "2 released runs, chosen by --seed 3" in out and out.count("equal bit for bit") == 2
    assert out.count("none by 12") == 4  # each, released and here
    assert "Audit: agrees with what was released" in out


def test_an_audit_fails_on_numbers_that_this_code_does_not_give(archives, capsys):
    spoil(archives)
    assert audit.main(["--runs", "1"]) == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_mistakes_are_said(archives, tmp_path, monkeypatch, capsys):
    for words in (["--runs", "0"], ["--runs", "two"], ["--at-most", "0"]):
        with pytest.raises(SystemExit) as exit_:
            audit.main(words)
        assert exit_.value.code == 2
    assert "no released runs" in capsys.readouterr().err


def test_beside_something_else_it_ends_with_it(archives, tmp_path):
    with audit.beside(tmp_path) as process:
        status, text = audit.outcome(process, tmp_path)
    assert status == 0 and "agrees" in text and not re.search("^training again", text, re.MULTILINE)
    with audit.beside(tmp_path) as process:
        pass
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_what_runs_cost_is_listed(archives, tmp_path, monkeypatch):
    import json

    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    keys = [*RunStore().released(), "0" * 16]
    (tmp_path / "01_figure.json").write_text(json.dumps({"notebook": "01_the_eureka_moment", "runs": [{"keys": keys}]}))
    request, stream = run_all.parse(["01", "--list"], run_all.paths.NOTEBOOKS), io.StringIO()
    assert request.only_list and run_all.show_costs(request.jobs, stream) == 0
    assert re.search(r"01_the_eureka_moment +3 +2 +0 +1 +0\.0", stream.getvalue())


def test_the_real_command_lists(archives):
    command = ["bash", str(run_all.paths.ROOT / "run_all.sh"), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"VIRTUAL_ENV": os.sys.prefix})
    assert done.returncode == 0 and "core-hours" in done.stdout
