"""The benchmark measures what it says, and its table has the promised rows; how fast the code is, no test can say."""

from dataclasses import replace

import pytest
import torch

from eureka_lib.attention.layer import is_watched
from eureka_lib.attention.registry import colour_of
from eureka_lib.benchmark import __main__ as program, attention
from eureka_lib.benchmark.attention import attention_cases, attention_rows, forward_backward
from eureka_lib.benchmark.measure import Row, Setting, compare, peak_memory, threads
from eureka_lib.benchmark.plot import length_table, plot_lengths, row_table, said_of
from eureka_lib.benchmark.straightforward import Samples, Straightforward
from eureka_lib.benchmark.training import Library
from eureka_lib.experiments import profiles
from eureka_lib.plots.intervals import plot_costs
from eureka_lib.tasks.images import load_images
from eureka_lib.tasks.two_step import Grid

SMOKE = Setting(pairs=2, smoke=True)


@pytest.fixture(autouse=True)
def one_thread():
    """As trainings have it: on a busy machine two threads wait for each other."""
    with threads(1):
        yield


@pytest.fixture
def tiny_attention(monkeypatch):
    """Attention with batches as small as can be, of short and of long rows."""
    monkeypatch.setitem(attention.TOKENS, "cpu", 1)
    monkeypatch.setattr(attention, "HEADS", 1)
    monkeypatch.setattr(attention, "LENGTHS", (3, 1024))


def test_pairs_are_measured_in_turn_and_divided():
    """One pair to warm up, then A B A B; the median and the quartiles are of the ratios, not of the costs.

    Here they lie far apart, so that it is measured three times, and the last counts.
    """
    costs = {"A": iter([9, 1, 2, 1, 2, 1] * 2 + [9, 2, 6, 4, 10, 8.0]), "B": iter([1] * 12 + [1, 1, 2, 1, 2, 1.0])}
    order = []

    def cost(work, device):
        order.append(work)
        return next(costs[work])

    assert compare(SMOKE, "a", "b", "A", "B", cost, 5, bar=4.5) == Row("a", "b", 4.0, 3.0, 5.0, bar=4.5)
    assert order == ["A", "B"] * 18
    assert compare(SMOKE, "a", "b", "A", "B", lambda *_: 3.0, 1, unmeasured=0) == Row("a", "b", 1.0, 1.0, 1.0)
    with threads(2):
        compare(SMOKE, "a", "b", "A", "B", lambda *_: torch.get_num_threads() == 1 or pytest.fail("two threads"))
        assert torch.get_num_threads() == 2


def test_peak_memory_is_the_most_held_at_once():
    """Three tensors one after another are never more than two at once."""

    def work():
        x = torch.zeros(1000)
        y = x + 1  # now both
        del x
        return y.neg_() + 1  # again two

    assert peak_memory(work, "cpu") == pytest.approx(8000, abs=64)
    assert peak_memory(lambda: None, "cpu") == 0


def test_the_compared_functions_do_the_same_work():
    """Fused and naive give the same; all three take q, k, v as the model lays them out, and give three gradients."""
    cases = attention_cases(SMOKE, 17)
    (quick, leaves, _), (naive, *_), _ = cases.values()
    assert torch.allclose(quick(*leaves), naive(*leaves), atol=1e-5)
    assert leaves[0].shape == (120, 4, 17, 64) and not leaves[0].is_contiguous()
    for case in cases.values():
        assert [gradient.shape for gradient in forward_backward(*case)] == [leaves[0].shape] * 3


def test_rows_carry_their_floors_and_bars(tiny_attention):
    rows = list(attention_rows(SMOKE))
    assert len(rows) == 8 and all(0 < row.low <= row.ratio <= row.high for row in rows)
    marks = {(row.name.removeprefix("fused NormSoftmax, "), row.baseline): (row.floor, row.bar) for row in rows}
    assert marks["time, 3 tokens", "SDPA softmax"] == (1 + 64 / 3, None)
    assert marks["time, 1024 tokens", "SDPA softmax"] == (1.0625, pytest.approx(1.15 * 1.0625))
    assert marks["time, 1024 tokens", "naive NormSoftmax"] == (None, 0.35)
    assert marks["memory, 1024 tokens", "naive NormSoftmax"] == (None, None)
    (memory,) = [r for r in rows if r.name.endswith("memory, 1024 tokens") and r.baseline == "naive NormSoftmax"]
    assert memory.ratio < 0.2, "long rows need much less memory than naive"
    assert all(row.bar is None for row in attention_rows(replace(SMOKE, precision="bfloat16", pairs=1)))


# --- whole trainings -------------------------------------------------------------------------------------------------


ROWS = {  # how they begin
    "step": ["step, smoke, batch 32", "step, paper on digits, batch 4", "NormSoftmax step, paper on digits"],
    "zoo": ["NormSoftmax", "Heat Treatment", "softmax1", "attention sink", "QK-norm", "Sinkhorn", "QR"],
    "sweep": ["sweep of 1 runs of 2 steps"],
}


@pytest.mark.parametrize("group", ROWS)
def test_groups_have_their_rows(group):
    """Each row has a named baseline and its quartiles in order; no bar for tiny sizes."""
    rows = list(program.GROUPS[group](replace(SMOKE, pairs=1)))
    assert all(row.baseline and 0 < row.low <= row.ratio <= row.high and row.bar is None for row in rows)
    for start in ROWS[group]:
        assert any(row.name.startswith(start) for row in rows), start


def test_straightforward_samples_obey_the_rule():
    """Told from the pictures alone: which images stand in the cells, the colours, and that the label is the answer."""
    config = profiles.get("smoke").live.vary(colour_noise=0.0).task
    samples, source = Samples(config, "test"), load_images("digits", "test", config.cell)
    task = profiles.get("smoke").live.build_task()
    images, labels = map(list, zip(*(samples[i] for i in range(60)), strict=True))
    pixels = torch.stack(images) * config.pixel_std + config.pixel_mean
    cells = pixels.unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)  # (60, 3, 4, 8, 8)
    grey = cells.amax(dim=1).flatten(2)  # blue and red cells have one channel, white ones three equal ones
    apart = torch.cdist(grey.flatten(0, 1), source.images.flatten(1))
    assert apart.amin(dim=1).max() < 0.01
    classes = source.labels[apart.argmin(dim=1)].view(60, 4)
    assert torch.equal(classes[:, 1], source.labels[:60]) and classes[:, [0, 3]].unique().tolist() == [1, 2]
    assert torch.equal(cells[:, 0, 1:3], cells[:, 2, 1:3]) and cells[:, 1, [0, 3]].abs().max() < 1e-5
    grid = Grid(classes, torch.tensor([0, 1, 2, 0]).expand(60, 4), torch.zeros(60, 4, dtype=torch.int64))
    assert torch.equal(task.oracle(grid), torch.tensor(labels))
    assert 15 < int(task.same(grid).sum()) < 45


def test_straightforward_training_learns_as_ours_does():
    """Same model, same task: after some steps both losses have fallen from log 10 to near the plateau of 1.03 nats."""
    experiment = profiles.get("smoke").cheap.base.vary(learning_rate=2e-3, batch_size=64)
    plain, ours = Straightforward(experiment, "cpu"), Library(experiment, "cpu")
    losses = plain.steps(100)
    for _ in range(5):
        ours.steps(20)
    mine = [row["train_loss"] for row in ours.trainer.rows[1:]]
    theirs = torch.tensor(losses).view(5, 20).mean(dim=1).tolist()
    assert losses[0] == pytest.approx(2.3, abs=0.2)
    assert theirs == pytest.approx(mine, abs=0.15) and theirs[-1] < 1.2
    assert plain.optimizer.param_groups[0]["lr"] == ours.trainer.rows[-1]["learning_rate"] == 2e-3


def test_straightforward_training_starts_from_our_weights_and_never_fuses():
    experiment = profiles.get("smoke").live
    plain, ours = Straightforward(experiment, "cpu"), Library(experiment, "cpu")
    state = ours.trainer.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.model.state_dict().items())
    assert all(is_watched(layer.weights) for layer in plain.model.attention_layers())
    assert not any(is_watched(layer.weights) for layer in ours.trainer.model.attention_layers())


def test_straightforward_sweep_evaluates_as_often_as_ours(tiny):
    accuracies = Straightforward(tiny, "cpu").train()
    assert len(accuracies) == 4 and all(0 <= accuracy <= 1 for accuracy in accuracies)  # steps 0, 4, 8, 12


# --- the table -------------------------------------------------------------------------------------------------------


def test_command_line_prints_the_asked_groups_row_by_row(monkeypatch, capsys):
    row = Row("a", "b", ratio=1.5, low=1.4, high=1.6, floor=1.0, bar=1.5)
    missed = Row("a", "b", ratio=1.51, low=1.4, high=1.6, bar=1.5)

    def two_rows(setting):
        """Two rows."""
        return [row, missed]

    monkeypatch.setitem(program.GROUPS, "step", two_rows)
    program.main(["step", "--smoke", "--pairs", "1"])
    setting, header, *lines = capsys.readouterr().out.splitlines()
    assert setting.startswith(str(replace(SMOKE, pairs=1))) and header == program.HEADER
    assert lines[0].split()[2:] == "1.50 1.40 to 1.60 1.00 <= 1.50 met".split()
    assert lines[1].endswith("MISSED") and len(lines) == 2
    assert row.met and not missed.met and replace(row, bar=None).met is None


def test_figure_has_a_panel_for_each_cost_and_a_line_for_each_baseline(tiny_attention):
    rows = list(attention_rows(SMOKE))
    table = length_table(rows)
    assert table["tokens"].unique().tolist() == [3, 1024] and table["cost"].unique().tolist() == ["time", "memory"]
    assert table["met"].tolist() == row_table(rows)["met"].tolist()
    axes = plot_lengths(table).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["time", "memory"]
    drawn = [line.get_ydata().tolist() for line in axes[1].get_lines() if line.get_marker() == "o"]
    memory = table[table["cost"] == "memory"]
    assert drawn == [one["ratio"].tolist() for _, one in memory.groupby("baseline", sort=False)]
    longest = [row.ratio for row in rows if row.baseline == "naive NormSoftmax" and "1024" in row.name]
    assert said_of(table).startswith("With 1,024 tokens") and all(
        f" {ratio:.2g} of" in said_of(table) for ratio in longest
    )


def test_costs_are_sorted_over_softmaxs():
    rows = [Row("QR", "softmax", 1.5, 1.4, 1.6), Row("NormSoftmax", "softmax", 1.1, 1.0, 1.2)]
    (axis,) = plot_costs(row_table(rows)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["NormSoftmax", "QR"]
    assert [text.get_text() for text in axis.texts] == ["1.10", "1.50"] and axis.get_xlim()[0] == 0.9
    dots = [line.get_color() for line in axis.get_lines() if line.get_marker() == "o"]
    assert dots == [colour_of("norm_softmax"), colour_of("qr")]


def test_a_misspelt_group_is_named():
    with pytest.raises(ValueError, match="unknown group 'atention'.*did you mean 'attention'"):
        program.main(["atention"])
