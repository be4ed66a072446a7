"""Released runs trained again: do this machine and this code give what was released?

On the same kind of machine (processor, instruction set, versions) a history must come out equal, bit for bit. Elsewhere
rounding differs, and a training makes much of it after some hundred steps: NormSoftmax and the ResNet most. There the
loss before the first step has to agree to ``ROUNDING``, the training loss up to the first few evaluations to
``TOLERANCE``, and the times of all Eureka-moments (EM) of the sample are held against each other by a log-rank test.
"""

import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from math import inf

import pandas as pd

from eureka_lib import provenance
from eureka_lib.analysis.eureka import log_rank
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.sweep import sweep
from eureka_lib.experiments.trainer import Training, device, quiet_surroundings
from eureka_lib.measure.runs import method_of, moment_of
from eureka_lib.store import Run, RunStore
from eureka_lib.validation import check_whole

FIRST = 2  # evaluations after step 0 that are compared with what another kind of machine got
ROUNDING = 1e-3  # nats, of the test loss at step 0
# Nats, of the mean training loss up to each of the first evaluations; between AVX2 and AVX-512 we saw 0.014.
TOLERANCE = 0.05
SIGNIFICANT = 0.01  # a log-rank p-value below this is disagreement
EXACT, CLOSE, WRONG = "equal bit for bit", "within the tolerance", "DIFFERENT"


def choose(store: RunStore, n: int, seed: int, at_most: float = inf) -> list[Run]:
    """``n`` released runs of a store by chance, of those that took ``at_most`` seconds; fewer if there are not so many.

    Equal seeds choose the same. Raises ValueError where nothing is released.
    """
    check_whole("number of runs", n, 1)
    runs = [run for key in sorted(store.released()) if (run := store.load_released(key))]
    runs = [run for run in runs if run.core_seconds <= at_most]
    if not runs:
        raise ValueError(f"there are no released runs in {store.archives} to be trained again")
    return random.Random(seed).sample(runs, min(n, len(runs)))


def audit(runs: Sequence[Run], executor: Executor | None = None) -> pd.DataFrame:
    """Train ``runs`` again, in a store of their own, and compare: a row per run, whose verdict is the last column."""
    with tempfile.TemporaryDirectory(prefix="eureka-audit-") as folder:
        experiments = [Experiment.from_config(run.config) for run in runs]
        again = sweep(experiments, executor, RunStore(folder), "training again")
        return pd.DataFrame([_compared(run, new) for run, new in zip(runs, again, strict=True)])


def p_of_times(table: pd.DataFrame) -> float:
    """Log-rank p of the EM times of an audit's table, released against trained here; not a number without an EM."""
    timed = table.dropna(subset="released")
    return log_rank([*timed["released"]], [*timed["here"]]) if len(timed) else float("nan")


def turned(table: pd.DataFrame) -> str:
    """How many runs of an audit's table had their EM in one of the two trainings only: the floor of the noise."""
    timed = table.dropna(subset="released")
    k = sum(then.happened != now.happened for then, now in zip(timed["released"], timed["here"], strict=True))
    return f"{k} of {len(timed)} outcomes turned"


def agrees(table: pd.DataFrame) -> bool:
    """Whether no run of an audit's table is different, nor the times of all of them."""
    return WRONG not in set(table["verdict"]) and not p_of_times(table) < SIGNIFICANT


def same_kind(run: Run) -> bool:
    """Whether a run was trained on this kind of machine, with the same versions."""
    theirs, ours = run.meta["machine"], provenance.machine()
    kind = ("processor", "instructions", "gpu")
    return run.meta["versions"] == provenance.versions() and all(theirs.get(fact) == ours.get(fact) for fact in kind)


def first_differences(run: Run, history: pd.DataFrame) -> tuple[float, float]:
    """Of the beginning of ``history`` from a stored run's, in nats: test loss at step 0, training loss thereafter."""
    n = min(FIRST + 1, len(history))
    both = zip(run.history[:n].to_dict("records"), history[:n].to_dict("records"), strict=True)
    (first, mine), *others = both
    return abs(first["test_loss"] - mine["test_loss"]), max(abs(a["train_loss"] - b["train_loss"]) for a, b in others)


def beginning(experiment: Experiment) -> pd.DataFrame:
    """The history of ``experiment`` up to the first evaluations, trained here and now."""
    where, settings = device(), experiment.training
    with quiet_surroundings(where):
        task = experiment.build_task(where)
        trainer = Training(experiment, task, task.test_set(settings.test_samples)).trainer
        return trainer.fit(FIRST * settings.evaluate_every, settings.evaluate_every)[0]


def is_close(differences: tuple[float, float]) -> bool:
    """Whether :func:`first_differences` are no more than rounding makes of them."""
    return differences[0] <= ROUNDING and differences[1] <= TOLERANCE


def _compared(run: Run, new: Run) -> dict:
    differences = first_differences(run, new.history)
    if same_kind(run):
        verdict = EXACT if new.meta["history_sha256"] == run.meta["history_sha256"] else WRONG
    else:
        verdict = CLOSE if is_close(differences) else WRONG
    timed = "test_accuracy" in run.history
    return {
        "run": run.key,
        "method": method_of(run),
        "seed": run.config["model_seed"],
        "steps": run.config["training"]["steps"],
        "released": moment_of(run) if timed else None,
        "here": moment_of(new) if timed else None,
        "loss at step 0 differs by": differences[0],
        "training loss soon after by": differences[1],
        "verdict": verdict,
    }
