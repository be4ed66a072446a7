"""What changes a history by a bit, and what does not.

On a CPU a history follows from the configuration alone. Here: the caller's threads, kept weights, other instructions;
a fresh process, an interruption and trainings in other threads are in test_experiment, test_trainer and test_faults.
What changes it, within rounding, takes sums in another order: the code for other instructions (torch's libraries choose
theirs by the processor's maker and by what it can do), another version of torch, and a GPU, whose random generator is
another one, too. A training amplifies rounding, so that single runs part and only rates over seeds are comparable.
"""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from eureka_lib.experiments.run import run
from eureka_lib.store import RunStore

OLD_PROCESSOR = {  # makes torch and its libraries take the code that they have for processors without AVX
    "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41",
}  # fmt: skip
CLOSE = 1e-3  # relative difference of a loss that still passes for rounding, over the dozen steps of the experiment
SCRIPT = """
import sys
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.store import RunStore
run(profiles.get("smoke").live.vary(steps=12, evaluate_every=4, test_samples=100), RunStore(sys.argv[1]))
"""


@pytest.mark.parametrize("change", [{}, {"precision": "bfloat16"}, {"stochastic_depth": 0.2}])
def test_neither_the_callers_threads_nor_kept_weights_change_a_bit(tiny, store, tmp_path, change):
    experiment = tiny.vary(**change)
    first, before = run(experiment, store).history, torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        again = run(experiment, RunStore(tmp_path / "again"), weights_every=4).history
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def difference(one, other):
    """The largest relative difference of a loss."""
    losses = ["train_loss", "test_loss"]
    return ((one[losses] - other[losses]).abs() / one[losses].abs()).max().max()


def test_the_code_for_another_processor_changes_a_history_within_rounding(tiny, store, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "old")]
    subprocess.run(command, env=os.environ | OLD_PROCESSOR, check=True, capture_output=True)
    here, there = run(tiny, store).history, RunStore(tmp_path / "old").load(tiny.key).history
    assert difference(here, there) < CLOSE < difference(here, run(tiny.vary(data_seed=1), store).history)
