"""Probes as lines, maps and marks: the drawn values are the table's."""

import pytest

from eureka_lib.analysis.probes import ALL_TOKENS
from eureka_lib.measure.probes import accuracies, answers, readings
from eureka_lib.plots import probes
from eureka_lib.plots.maps import plot_probes

pytestmark = pytest.mark.usefixtures("house_style")


def test_plotted_values_are_the_tables(probed):
    found = answers(probed.table, "training")
    figure = probes.plot_training(found, [probed.subject], probed.subject.experiment.build_task())
    drawn = [list(line.get_ydata()) for line in figure.axes[0].get_lines()]
    where = "layer == 2 and tokens == 'all tokens' and probe == 'linear' and asked == 'indicators'"
    assert found.query(where)["accuracy"].tolist() in drawn
    assert probed.subject.run.history["test_accuracy"].tolist() in drawn
    codes = answers(probed.table, "code")
    figure = probes.plot_codes(codes, [probed.subject])
    row = codes.query("tokens == 'all tokens' and asked == 'indicators' and step == 20").iloc[0]
    lines = [line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert any(line[-1] == row["online"] / row["uniform"] for line in lines)
    end = found.query(where + " and step == 20")["accuracy"].item()
    assert readings(found, probed.subject, "indicators").endswith(f"then {end:.2f}")


def test_map_writes_the_accuracies_and_leaves_constant_classes_blank(probed):
    rows = answers(probed.table, "map")
    rows.loc[rows["asked"] == "label", ["accuracy", "majority"]] = 1.0
    figure = plot_probes(rows, {"half-way": 0, "end": 20})
    axis = figure.axes[0]
    assert axis.get_title(loc="center") == "all tokens,\nhalf-way"
    assert [text.get_text() for text in axis.get_yticklabels()][:2] == ["1  head 1", "1  head 2"]
    colours = axis.collections[0].get_array().reshape(12, 4)
    assert colours.mask[:, 3].all() and not colours.mask[:, :3].any()
    first = rows.query("step == 0 and tokens == 'all tokens' and part == 'head 1' and layer == 1").set_index("asked")
    assert axis.texts[0].get_text() == f"{first.loc['indicators', 'accuracy']:.2f}".removeprefix("0")


def test_every_figure_can_be_drawn(probed):
    assert len(probes.plot_layers(answers(probed.table, "training"), probed.subject).axes) == 2
    checks = answers(probed.table, "checks")
    axis = probes.plot_checks(checks, {"start": 0, "end": 20}).axes[0]
    where = "tokens == 'all tokens' and probe == 'linear' and asked == 'indicators' and step == 0"
    first = checks.query(where).iloc[0]
    assert axis.patches[0].get_height() == first["accuracy"] - first["control"]
    figure = probes.plot_every_run(answers(probed.table, "claims"), [probed.subject])
    marks = [line for line in figure.axes[0].get_lines() if line.get_label() == "end"]
    steps = {probed.subject.seed: 20}
    assert marks[0].get_xdata().tolist() == accuracies(answers(probed.table, "claims"), steps, "indicators", ALL_TOKENS)
