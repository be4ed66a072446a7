"""The zoo as an experiment: training it, its tuning, its pictures, and yours."""

import runpy
from functools import partial

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from eureka_lib import paths
from eureka_lib.attention.registry import METHODS, colour_of
from eureka_lib.claims import published, rules
from eureka_lib.claims.registry import NOT_REPRODUCED, REPRODUCED, UNDECIDED
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.measure.zoo import shape_kinds, shape_table
from eureka_lib.plots.curves import plot_follow_up, plot_shapes
from eureka_lib.plots.intervals import plot_verdicts, said_of, verdict_table
from eureka_lib.plots.style import REFERENCE
from eureka_lib.plots.survival import plot_survivals
from tests import planted

NEVER = 9999
group = partial(planted.group, profiles.get("smoke").zoo.base)
SLOW = group("softmax", 600, 650, 700, 750, 800, 800, 850, 850, NEVER, NEVER)
GROUPS = {
    "softmax": SLOW,
    "sigmoid": group("sigmoid", 100, 150, 150, 200, 200, 250, 250, 250, 300, 300),
    "qk_norm": group("qk_norm", 500, 550, 550, 550, 600, 600, 600, 600, 650, 650),
    "sinkhorn": group("sinkhorn", *[NEVER] * 10),
    "sparsemax": group("sparsemax", 500, 650, 700, 750, 800, 800, 850, NEVER, NEVER, NEVER),
}


def table_group(**jumps):
    """Runs by method and learning rate, two rates each with the same jumps."""
    return {(method, rate): group(method, *steps) for method, steps in jumps.items() for rate in (1e-3, 5e-4)}


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.learned is not None])
def test_a_number_to_be_learned_is_learned(tiny, store, name):
    found = run(tiny.vary(attention=name, learning_rate=1e-3), store, weights_every=12)
    before, after = (found.weights(step)["blocks.0.attention.weights.learned"] for step in (0, 12))
    assert (before == METHODS[name].learned).all() and (after != before).all()


def test_a_training_that_was_interrupted_goes_on_bit_for_bit(tiny, goes_on_exactly):
    """The learned numbers and what AdamW knows of them come back with the rest."""
    goes_on_exactly(tiny.vary(attention="attention_sink", learning_rate=1e-2), interrupted=8, continued=4)


def test_a_network_of_transformers_says_what_it_cannot_have(store):
    pytest.importorskip("transformers")
    experiment = profiles.get("smoke").in_context.base.vary(attention="attention_sink")
    with pytest.raises(ValueError, match="'attention_sink' needs more than logits.*allowed are"):
        run(experiment, store)
    with pytest.raises(ValueError, match="sinkhorn .* knows no masks"):
        run(experiment.vary(attention="sinkhorn"), store)


def test_the_zoo_shares_the_regime_and_the_rates_of_the_papers_methods():
    laptop = profiles.get("laptop")
    assert laptop.zoo.base == laptop.cheap.base and laptop.zoo.seeds >= 10
    assert all(laptop.zoo.tuned[method] == laptop.cheap.tuned[method] for method in profiles.PAPERS)
    assert list(laptop.zoo.groups(["qr"], seeds=1)) == ["softmax", "qr"]


def test_the_follow_up_is_as_published_in_profile_paper():
    table = profiles.get("paper").follow_up
    base = table.base
    assert (base.model.patch_size, base.model.depth, base.model.pooling) == ((14, 28), 4, "mean")
    assert (base.training.batch_size, base.training.steps, table.seeds) == (512, 100 * 117, published.FOLLOW_UP_SEEDS)
    assert {base.task.indicator_source, base.task.target_source} == {"mnist", "fashion_mnist"}
    measured = {(method, rate) for method in table.methods for rate in table.rates}
    assert measured == {key for key in published.FOLLOW_UP if key[0] != published.QUANTUM}
    for profile in profiles.PROFILES.values():
        groups = profile.follow_up.groups(seeds=2)
        assert groups.keys() == measured
        assert all([e.model_seed for e in es] == [0, 1] and es[0].training.learning_rate == rate
                   for (_, rate), es in groups.items())  # fmt: skip


def test_published_numbers_are_the_published_ones():
    """Row by row as in the source, in percent."""
    methods = ("softmax", "norm_softmax_var", "sinkhorn", "qr", published.QUANTUM)
    rows = {rate: [published.FOLLOW_UP[method, rate] for method in methods] for rate in (1e-3, 7e-4, 5e-4)}
    assert [k for k, _ in rows[1e-3]] == [0, 0, 0, 2, 2]
    assert [k for k, _ in rows[7e-4]] == [0, 0, 0, 4, 4]
    assert [k for k, _ in rows[5e-4]] == [1, 0, 0, 2, 5]
    assert [round(100 * a, 1) for _, a in rows[1e-3]] == [53.4, 48.6, 49.0, 61.2, 70.0]
    assert [round(100 * a, 1) for _, a in rows[7e-4]] == [53.9, 50.9, 50.9, 72.9, 82.3]
    assert [round(100 * a, 1) for _, a in rows[5e-4]] == [61.1, 51.0, 51.6, 66.4, 89.4]


# --- pictures --------------------------------------------------------------------------------------------------------


def test_shapes_are_what_the_methods_do(house_style):
    table = shape_table(list(profiles.get("smoke").zoo.tuned), keys=6)
    weights = {method: rows["weight"].to_numpy() for method, rows in table.groupby("method")}
    assert weights["learnable_temperature"] == pytest.approx(weights["softmax"], abs=1e-6)
    assert weights["softmax1"].sum() < 1 and weights["softmax1"] == pytest.approx(weights["attention_sink"], abs=1e-6)
    assert weights["heat_treatment"].max() > weights["softmax"].max() and (weights["sparsemax"] == 0).any()
    assert table["logit"].groupby(table["method"]).apply(lambda z: z.is_monotonic_increasing).all()
    figure = plot_shapes(table)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert len(titles) == 12 and "NormSoftmax\nsum 1.00" in titles
    assert shape_kinds(table)["sparsemax"] == "ignores keys, sum" and shape_kinds(table)["qr"] == "sees all rows, sum"
    looks_away = [i for i, title in enumerate(titles) if "may look away" in title]
    assert len(looks_away) == 3 and looks_away[2] == looks_away[0] + 2, "methods of one kind stand together"
    colours = {axis.get_lines()[1].get_color() for axis in figure.axes}
    assert colours == {colour_of(method) for method in weights if method != "softmax"}


def test_survival_has_a_panel_per_method(house_style):
    figure = plot_survivals(GROUPS)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    assert titles == [
        "sigmoid\n10 of 10 jump",
        "QK-norm\n10 of 10 jump",
        "sparsemax\n7 of 10 jump",
        "Sinkhorn\n0 of 10 jump",
    ], "the soonest first"
    curves = [line for line in figure.axes[0].get_lines() if line.get_marker() != "|"]
    assert [line.get_color() for line in curves] == [REFERENCE, colour_of("sigmoid")]


def test_verdicts_are_drawn_and_tabled(house_style):
    rows = rules.judge_zoo(GROUPS)
    table = verdict_table(rows)
    assert table.loc["sigmoid", ["shortens", "removes"]].tolist() == ["yes", "yes"]
    assert table.loc["QK-norm", ["shortens", "removes"]].tolist() == ["yes", "no"]
    assert table.loc["sparsemax", "shortens"] == "undecided"
    figure, axis = plt.subplots()
    plot_verdicts(axis, rows)
    dots = [float(line.get_xdata()[0]) for line in axis.get_lines() if line.get_marker() == "o"]
    assert dots == sorted(row.value for row in rows[::2]), "the soonest on top"
    marks = [text.get_gid() for text in axis.texts if text.get_gid()]
    assert marks[:4] == [REPRODUCED, REPRODUCED, UNDECIDED, NOT_REPRODUCED]
    assert marks[4:] == [REPRODUCED, *[NOT_REPRODUCED] * 3]
    assert said_of(rows) == "2 of 4 methods shorten softmax's plateau, 1 do not; 1 remove it"


def test_intervals_that_few_runs_leave_open_end_at_the_edge(house_style):
    """As at profile smoke, where two runs a method can reject nothing."""
    rows = rules.judge_zoo({method: runs[-2:] for method, runs in GROUPS.items()})
    assert all(row.interval == (0, np.inf) for row in rows)
    assert said_of(rows) == "Softmax has no plateau here. Of 4 methods 0 are surely sooner, 0 later"
    figure, axis = plt.subplots()
    plot_verdicts(axis, rows)
    figure.draw_without_rendering()
    assert np.isfinite(axis.get_xlim()).all()


def test_the_follow_ups_table_has_both_sides(house_style):
    groups = table_group(softmax=[NEVER, NEVER], qr=[300, NEVER])
    table = published.follow_up_table(groups).set_index(["method", "learning rate"])
    assert len(table) == 15
    assert table.loc[("QR", 5e-4)].tolist() == ["2/5", 0.664, "1/2", pytest.approx((0.97 + 0.55) / 2)]
    assert table.loc[(published.QUANTUM, 1e-3), "measured EMs"] == "" == table.loc[("QR", 7e-4), "measured EMs"]
    left, right = plot_follow_up(groups, 0.55).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in left.get_lines()}
    assert drawn["QR"] == [0.664, 0.729, 0.612]  # rates ascend
    assert sum(line.get_marker() == "." for line in right.get_lines()) == 8
    assert [text.get_text() for text in right.texts if text.get_gid()] == ["1/2", "1/2"]
    said = published.most_jumps(published.follow_up_table(groups))
    assert said == "Most jumps over all learning rates: here QR, 2 of 4; published QR, 8 of 15"
    nobody = published.follow_up_table(table_group(softmax=[NEVER], qr=[NEVER]))
    assert published.most_jumps(nobody).startswith("Most jumps over all learning rates: here none in 4 runs;")


# --- yours -----------------------------------------------------------------------------------------------------------


def test_the_notebooks_ten_lines_add_an_attention(monkeypatch, tmp_path):
    """The very cell that the notebook shows, in a file."""
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "runs"))
    notebook = nbformat.read(paths.NOTEBOOKS / "13_attention_zoo.ipynb", as_version=4)
    (source,) = [cell.source for cell in notebook.cells if cell.id == "yours"]
    assert len(source.splitlines()) <= 10
    (tmp_path / "cell.py").write_text(source)
    known = set(METHODS)
    try:
        given = runpy.run_path(str(tmp_path / "cell.py"), {"profile": "smoke"})
        (added,) = METHODS.keys() - known
        assert given["mine"].config["model"]["attention"] == added
        assert given["mine"].history["test_loss"].notna().all() and given["mine"].status == "finished"
    finally:
        for name in METHODS.keys() - known:
            del METHODS[name]
