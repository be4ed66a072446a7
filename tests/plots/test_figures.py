"""Figures: four files, the same bytes for the same runs anywhere, and a provenance that points at the runs."""

import hashlib
import json
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from eureka_lib import paths, provenance
from eureka_lib.experiments import defaults, profiles
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import sweep
from eureka_lib.measure.runs import describe_run, run_table, tidy
from eureka_lib.measure.tasks import batch_table, clearest
from eureka_lib.plots.live import LiveCurve
from eureka_lib.plots.page import Page
from eureka_lib.plots.samples import NOT_EQUAL, plot_steps
from eureka_lib.plots.seeds import mark_budget, plot_loss, plot_seeds
from eureka_lib.plots.style import SMALLEST, panels, use_style
from eureka_lib.plots.survival import plot_survival

SUFFIXES = ("csv", "json", "pdf", "png")


@pytest.fixture(autouse=True)
def figures_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path / "figures"))
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    from eureka_lib.store import RunStore

    smoke = profiles.get("smoke")
    store = RunStore(tmp_path_factory.mktemp("runs"))
    short = {"steps": 12, "evaluate_every": 4, "test_samples": 100}
    experiments = [smoke.live.vary(seed=0, **short), smoke.live.vary(seed=1, **short), smoke.resnet.vary(**short)]
    return [run(e, store) for e in experiments]


def open_page(**parameters):
    """The page of notebook 01, as its set-up cell makes it."""
    return Page("01_the_eureka_moment", {"profile": "smoke", **parameters})


def draw_and_save(runs, page=None):
    use_style()
    figure, (axis,) = panels(1)
    plot_loss(axis, {"softmax": runs}, profiles.get("smoke").live.build_task())
    return (page or open_page()).save(figure, "01_loss", tidy(runs), runs)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_machine_time_and_commit_leave_the_four_files_untouched(runs, monkeypatch):
    png = draw_and_save(runs)
    files, local = [png.with_suffix(f".{suffix}") for suffix in SUFFIXES], png.parent / "machine" / "01_loss.json"
    before, was = [(digest(path), path.stat().st_mtime_ns) for path in files], json.loads(local.read_text())
    elsewhere = {"machine": {"processor": "another"}, "versions": {"torch": "9"}, "git_commit": "abc", "device": "cuda"}
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "9"})
    monkeypatch.setattr(provenance, "git_commit", lambda: "abc")
    draw_and_save([replace(run, meta={**run.meta, **elsewhere, "wall_seconds": 1e6}) for run in runs])
    assert [(digest(path), path.stat().st_mtime_ns) for path in files] == before, "nor written again"
    now = json.loads(local.read_text())
    assert now != was and now["git_commit"] == "abc" and now["runs"][0]["machine"] == [{"processor": "another"}]


PLAYED_PARAMETERS = [("01_the_eureka_moment", {"vit_seeds": 20}), ("03_temperature", {"scales": (1, 64)})]


@pytest.mark.parametrize(("notebook", "changes"), PLAYED_PARAMETERS)
def test_what_is_played_goes_elsewhere_and_leaves_no_claims(notebook, changes, capsys):
    page = Page(notebook, {"profile": "laptop", **changes})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Played with ") and line.endswith("and no claims are kept.") and str(page.folder) in line
    png = page.save(plt.figure(), f"{notebook[:2]}_it", pd.DataFrame({"x": [1]}), [])
    page.record([])
    base = paths.figures_dir("laptop")
    assert png.parent == base / paths.PLAYED and not list(base.glob("*.*")) and not list(base.rglob("claims"))
    assert capsys.readouterr().out == "", "said once"
    facts, (name, value) = json.loads(png.with_suffix(".json").read_text()), *changes.items()
    assert facts["parameters"] == {**defaults.read(paths.NOTEBOOKS)[notebook], name: json.loads(json.dumps(value))}


def test_the_command_gives_the_played_parameters():
    page = Page("03_temperature", {"profile": "smoke", "scales": [1, 64], "seeds": 2, "shapes": ["linear"]})
    facts = json.loads(page.save(plt.figure(), "03_it", pd.DataFrame(), []).with_suffix(".json").read_text())
    assert facts["command"] == (
        "./run_all.sh --profile smoke 03_temperature -p 'scales=[1, 64]' -p 'shapes=['\"'\"'linear'\"'\"']' -p seeds=2"
    )


def test_defaults_and_another_profile_are_not_played(capsys):
    page = Page("03_temperature", {"profile": "paper", "scales": (0.25, 1.0, 4, 16, 64), "anything": 1})
    page.record([])
    assert page.folder == paths.figures_dir("paper") and capsys.readouterr().out == ""
    assert (page.folder / "claims" / "03_temperature.json").exists()


def test_a_parameter_that_is_changed_after_the_setup_cell_counts_too():
    namespace = {"profile": "smoke", "vit_seeds": 0}
    page = Page("01_the_eureka_moment", namespace)
    namespace["vit_seeds"] = 3  # its cell again, and then a figure's
    page.record([])
    assert page.folder.name == paths.PLAYED and not page.folder.parent.exists()
    namespace["vit_seeds"] = 0  # the runs in memory are still those of three seeds, until the set-up cell runs again
    page.record([])
    assert page.folder.name == paths.PLAYED and not page.folder.parent.exists()
    assert Page("01_the_eureka_moment", namespace).folder == paths.figures_dir("smoke")


def test_a_page_needs_a_notebook_with_defaults():
    with pytest.raises(ValueError, match="did you mean '03_temperature'"):
        Page("03_temprature", {"profile": "smoke"})


def test_provenance_names_config_seeds_data_versions_and_time(runs):
    png = draw_and_save(runs)
    facts, machine = (json.loads((png.parent / file).read_text()) for file in ("01_loss.json", "machine/01_loss.json"))
    vit, resnet = facts["runs"]
    assert vit["seeds"] == [{"model_seed": 0, "data_seed": 0}, {"model_seed": 1, "data_seed": 1}]
    assert vit["keys"] == [run.key for run in runs[:2]] and resnet["keys"] == [runs[2].key]
    assert vit["config"]["model"]["attention"] == "softmax" and resnet["config"]["model"]["name"] == "resnet9"
    assert len(vit["data_sha256"][0]["digits"]) == 64
    assert vit["results_version"] == resnet["results_version"] == runs[0].meta["results_version"]
    seconds, keys = machine["runs"][0]["wall_seconds"], machine["runs"][0]["keys"]
    assert seconds == pytest.approx(sum(run.meta["wall_seconds"] for run in runs[:2]), abs=0.02) and keys == vit["keys"]
    assert {"eureka_lib", "python", "torch"} <= set(machine["versions"]) and machine["git_commit"]
    assert facts["command"] == "./run_all.sh --profile smoke 01_the_eureka_moment"


def test_plotted_data_is_beside_the_figure(runs):
    png = draw_and_save(runs)
    facts = json.loads(png.with_suffix(".json").read_text())
    assert digest(png.parent / facts["plotted_data"]) == facts["plotted_data_sha256"]
    table = pd.read_csv(png.parent / facts["plotted_data"])
    first = table[table["run"] == runs[0].key]
    assert first["test_accuracy"].tolist() == runs[0].history["test_accuracy"].tolist()
    assert set(table["method"]) == {"softmax", "resnet9"}


def test_profiles_do_not_overwrite_each_other(runs):
    assert draw_and_save(runs, open_page(profile="laptop")).parent == paths.figures_dir("laptop")
    assert draw_and_save(runs).parent == paths.figures_dir("laptop") / "smoke"


def test_a_name_without_the_notebooks_number_is_refused(runs):
    with pytest.raises(ValueError, match="'loss' must start with its notebook's number: 01_loss would do"):
        open_page().save(plt.figure(), "loss", tidy(runs), runs)


def test_derived_lines_are_drawn_and_named(runs):
    figure, (axis,) = panels(1)
    task = profiles.get("smoke").live.build_task()
    plot_loss(axis, {"softmax": runs}, task)
    heights = {line.get_ydata()[0] for line in axis.get_lines() if line.get_linestyle() == "--"}
    assert heights == {task.plateau_loss(0.1), task.floor_loss(0.1)}
    assert {"plateau\n1.025", "floor\n0.500"} <= {text.get_text() for text in axis.texts}


def test_every_seed_is_a_line_and_every_moment_a_star(runs):
    jumped = runs[0].history.assign(test_accuracy=[0.1, 0.9, 0.9, 0.9])
    figure, (axis,) = panels(1)
    plot_seeds(axis, {"softmax": [replace(runs[0], history=jumped), runs[1]]}, "test_loss")
    stars = [line for line in axis.get_lines() if line.get_marker() == "*"]
    assert len(axis.get_lines()) == 3 and [star.get_xdata()[0] for star in stars] == [4]


def test_survival_counts_runs_and_marks_the_censored(runs):
    figure, (axis,) = panels(1)
    plot_survival(axis, {"softmax": runs[:2], "resnet9": runs[2:]})
    labels = {text.get_text(): text.xy[1] for text in axis.texts}
    assert list(labels) == ["ViT, softmax:\n2 of 2 wait", "ResNet9 (width 4):\n1 of 1 wait"]
    assert labels["ResNet9 (width 4):\n1 of 1 wait"] - labels["ViT, softmax:\n2 of 2 wait"] > 0.1, "side by side"
    assert sum(len(line.get_xdata()) for line in axis.get_lines() if line.get_marker() == "|") == 3


def test_a_budget_is_marked_where_the_axis_goes_on(runs):
    figure, (axis,) = panels(1)
    for end, marked in ((12, []), (24, ["budget ends"])):
        axis.set_xlim(0, end)
        mark_budget(axis, runs)
        assert [text.get_text() for text in axis.texts] == marked


def test_run_table_and_sentence(runs):
    table = run_table(runs)
    assert table["seed"].tolist() == [0, 1, 0] and not table["EM"].any()
    assert (table["EM or censored at step"] == 12).all()
    assert "no Eureka-moment by step 12" in describe_run(runs[0])


def test_both_steps_of_each_sample_stand_at_its_picture():
    task = profiles.get("smoke").live.build_task()
    batch = clearest(task.sample(torch.Generator().manual_seed(0), 200), 2)
    assert batch.same.tolist() == [True, True, False, False]
    assert (batch.cells[:, 1] != batch.cells[:, 2]).all(), "else it would not matter which one is read"
    figure = plot_steps(batch, task)
    for i, axis in enumerate(figure.axes):
        first, *targets, last = batch.cells[i].tolist()
        assert axis.get_title(loc="left") == f"1. compare: {first} {'=' if i < 2 else NOT_EQUAL} {last}"
        read = f"2. read {'top right' if i < 2 else 'bottom left'}: {targets[i // 2]}"
        assert axis.get_xlabel() == read and batch.labels[i] == targets[i // 2]
        assert sorted(patch.get_gid() for patch in axis.patches) == ["indicator", "indicator", "target"]
    table = batch_table(batch)
    for i in range(4):
        assert table.loc[i, table.loc[i, "target"]] == table.loc[i, "label"]


def test_clearest_are_those_that_look_like_their_class():
    task = profiles.get("smoke").live.build_task()
    batch = task.sample(torch.Generator().manual_seed(0), 200)
    noisy = torch.arange(200) % 2 == 0
    blurred = torch.where(noisy[:, None, None, None], batch.images.flip(-1).flip(-2), batch.images)
    pixels = {tuple(image.flatten().tolist()) for image in blurred[~noisy]}
    chosen = clearest(replace(batch, images=blurred), 10)
    assert sum(tuple(image.flatten().tolist()) in pixels for image in chosen.images) > 15


def test_live_curve_follows_a_run_and_changes_nothing(runs, store, capsys):
    experiment = profiles.get("smoke").live.vary(steps=12, evaluate_every=4, test_samples=100)
    with LiveCurve(experiment, experiment.build_task()) as live:
        watched = run(experiment, store, on_evaluation=live)
    assert live.line.get_xdata().tolist() == [0, 4, 8, 12]
    pd.testing.assert_frame_equal(watched.history, runs[0].history, check_exact=True)
    assert "training: 100%" in capsys.readouterr().out


def test_sweep_on_stored_runs_draws_the_same_data(runs, tmp_path):
    """A figure from loaded runs has the data of a figure from the runs just trained."""
    from eureka_lib.store import RunStore

    store = RunStore(tmp_path / "again")
    experiment = profiles.get("smoke").live.vary(steps=12, evaluate_every=4, test_samples=100)
    cold, warm = sweep([experiment], store=store), sweep([experiment], store=store)
    assert tidy(cold).to_csv() == tidy(warm).to_csv() == tidy(runs[:1]).to_csv()


def test_the_committed_figures_have_default_parameters_and_know_no_machine():
    known = defaults.read(paths.NOTEBOOKS)
    for file in (paths.ROOT / "figures").glob("*.json"):
        facts = json.loads(file.read_text())
        assert facts["parameters"] == known[facts["notebook"]] and " -p " not in facts["command"], file.name
        assert not facts.keys() & {"versions", "git_commit"}, file.name
        assert facts["says"] and facts["smallest_text"] >= SMALLEST, file.name
        for origin in facts["runs"]:
            decided = {"config", "seeds", "keys", "results_version", "status", "data_sha256"}
            assert origin.keys() == decided, file.name
