"""The benchmark measures what it says, and its table has the promised rows; how fast the code is, no test can say."""

import json
from functools import partial

import pytest
import torch

from eureka_lib import benchmark
from eureka_lib.benchmark import Row, Setting, attention_cases, attention_rows, measure_pairs, peak_memory

TINY = Setting(pairs=2)


@pytest.fixture
def tiny_group(monkeypatch):
    """The attention rows of three tokens and of 1024, with batches as small as can be."""
    monkeypatch.setitem(benchmark.TOKENS, "cpu", 1)
    monkeypatch.setitem(benchmark.GROUPS, "attention", partial(attention_rows, lengths=(3, 1024)))
    monkeypatch.setattr(benchmark, "HEADS", 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_pairs_are_measured_in_turn_and_divided():
    """One pair to warm up, then A B A B; the median and the quartiles are of the ratios, not of the costs."""
    costs = {"A": iter([9, 2, 6, 4, 10, 8.0]), "B": iter([1, 1, 2, 1, 2, 1.0])}
    order = []

    def cost(work):
        order.append(work)
        return next(costs[work])

    assert measure_pairs(cost, "A", "B", 5) == {"ratio": 4.0, "low": 3.0, "high": 5.0}
    assert order == ["A", "B"] * 6
    assert measure_pairs(lambda work: 3.0, "A", "B", 1) == {"ratio": 1.0, "low": 1.0, "high": 1.0}


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
    cases = attention_cases(TINY, 17)
    (quick, leaves, _), (naive, *_), _ = cases.values()
    assert torch.allclose(quick(*leaves), naive(*leaves), atol=1e-5)
    assert leaves[0].shape == (120, 4, 17, 64) and not leaves[0].is_contiguous()
    for case in cases.values():
        assert [gradient.shape for gradient in benchmark.forward_backward(*case)] == [leaves[0].shape] * 3


def test_rows_carry_their_floors_and_bars(tiny_group):
    rows = list(benchmark.GROUPS["attention"](TINY))
    assert len(rows) == 8 and all(0 < row.low <= row.ratio <= row.high for row in rows)
    marks = {(row.name.removeprefix("fused NormSoftmax, "), row.baseline): (row.floor, row.bar) for row in rows}
    assert marks["time, 3 tokens", "SDPA softmax"] == (1 + 64 / 3, None)
    assert marks["time, 1024 tokens", "SDPA softmax"] == (1.0625, pytest.approx(1.15 * 1.0625))
    assert marks["time, 1024 tokens", "naive NormSoftmax"] == (None, 0.35)
    assert marks["memory, 1024 tokens", "naive NormSoftmax"] == (None, None)
    low = benchmark.GROUPS["attention"](Setting(precision="bfloat16", pairs=1))
    assert all(row.bar is None for row in low)


def test_long_rows_need_much_less_memory_than_naive(tiny_group):
    (row,) = [r for r in benchmark.GROUPS["attention"](TINY) if r.name.endswith("memory, 1024 tokens")][:1]
    assert row.baseline == "naive NormSoftmax" and row.ratio < 0.2


def test_command_line(tiny_group, capsys, tmp_path):
    """The table on screen and the JSON file have the same rows; groups are chosen by name."""
    file = tmp_path / "rows.json"
    rows = benchmark.main(["attention", "--pairs", "1", "--threads", "1", "--json", str(file)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == benchmark.HEADER.rstrip() and printed[2:] == [benchmark.line_of(row) for row in rows]
    stored = json.loads(file.read_text())
    assert stored["setting"] == {"device": "cpu", "precision": "float32", "pairs": 1, "threads": 1}
    assert [Row(**row) for row in stored["rows"]] == rows


def test_bars_are_judged():
    row = Row("a", "b", ratio=1.5, low=1.4, high=1.6, floor=1.0, bar=1.5)
    assert row.met and benchmark.line_of(row).endswith("1.50  1.40 to 1.60  1.00  <= 1.50 met")
    missed = Row("a", "b", ratio=1.51, low=1.4, high=1.6, bar=1.5)
    assert not missed.met and benchmark.line_of(missed).endswith("MISSED")
    assert Row("a", "b", ratio=1.0, low=1.0, high=1.0).met is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["atention"], "unknown group 'atention'.*did you mean 'attention'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--precision", "float16x"], "did you mean 'float16'"),
        (["--pairs", "0"], "pairs must be a whole number >= 1"),
    ],
)
def test_bad_options_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        benchmark.main(arguments)
