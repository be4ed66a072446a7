"""Where the gradient goes: what one backward pass leaves in kept models and in models that have not been trained.

``diagnose_runs`` asks each kept model of each run what one backward pass leaves at W_Q, W_K and W_V, at q, k and v, and
how even its attention is (:mod:`eureka_lib.analysis.gradients`). All of it happens after the training, which therefore
cannot notice.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from eureka_lib.analysis.gradients import FEATURES, MATRICES, diagnose, plateau_steps, weight_gradients
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import device, quiet_surroundings
from eureka_lib.measure.logits import label_of
from eureka_lib.measure.runs import method_of, moment_of, tidy
from eureka_lib.measure.subjects import Subject
from eureka_lib.progress import Progress
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import FIRST, INDICATOR, SECOND, Batch, TwoStepTask

RUN = ["run", "method", "seed", "step"]  # what names a kept model in a table


def diagnose_runs(subjects: Sequence[Subject], task: TwoStepTask, batch: Batch) -> pd.DataFrame:
    """Every kept model of ``subjects`` on one batch: a row per step and layer.

    Columns run (its key), method, seed, step, layer (from 1); W_Q, W_K, W_V, mean absolute gradients (nats); the same
    of features, as "q at indicators", for each of q, k, v at indicators, at targets and at CLS, if there is one; the
    attention's normalised "entropy".
    """
    where, tables = device(), []
    images, labels = batch.images.to(where), batch.labels.to(where)
    cells = {"indicators": batch.roles == INDICATOR, "targets": (batch.roles == FIRST) | (batch.roles == SECOND)}
    total = sum(len(subject.run.weight_steps) for subject in subjects)
    with quiet_surroundings(where), Progress("diagnosing kept models", total, lines=2) as progress:
        for subject in subjects:
            run, smoothing = subject.run, subject.experiment.training.label_smoothing
            for step in run.weight_steps:
                found = diagnose(subject.model(step, task).to(where), images, labels, cells, smoothing)
                columns = dict(zip(MATRICES, found.weights.T, strict=True)) | {"entropy": found.entropy}
                for place, sizes in found.features.items():
                    columns |= {f"{name} at {place}": size for name, size in zip(FEATURES, sizes.T, strict=True)}
                table = pd.DataFrame({name: values.tolist() for name, values in columns.items()})
                names = (run.key, method_of(run), subject.seed, step, table.index + 1)
                tables.append(table.assign(**dict(zip([*RUN, "layer"], names, strict=True))))
                progress.update(len(tables))
    table = pd.concat(tables, ignore_index=True)
    return table[[*RUN, "layer", *table.columns.drop([*RUN, "layer"])]]


def history_sizes(runs: Sequence[Run]) -> pd.DataFrame:
    """What every evaluation of ``runs`` noted, named as in :func:`over_layers`: gradients of the latest training batch.

    Columns run, method, seed, step, W_Q, W_K, W_V (nats; means over layers, not a number at step 0), and entropy.
    """
    columns = {f"gradient_{name[-1].lower()}": name for name in MATRICES} | {"attention_entropy": "entropy"}
    return tidy(runs).rename(columns=columns)[[*RUN, *columns.values()]]


def over_layers(table: pd.DataFrame) -> pd.DataFrame:
    """A :func:`diagnose_runs` table averaged over layers: a row per kept model, as the rules of C4 take it."""
    return table.groupby(RUN, sort=False).mean().drop(columns="layer").reset_index()


def ratio_table(sizes: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """From :func:`over_layers`, without step 0: the gradient of W_V over W_Q's and W_K's, and if on the plateau."""
    table = sizes.loc[sizes["step"] > 0, RUN].assign(plateau=False)
    for name in ("W_Q", "W_K"):
        table[f"W_V / {name}"] = sizes["W_V"] / sizes[name]
    for run in runs:
        mine = table["run"] == run.key
        table.loc[mine, "plateau"] = table.loc[mine, "step"].isin(plateau_steps(*run.accuracy))
    return table


def since_moment(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The table with ``since``, the steps from each run's Eureka-moment; not a number for a run without one."""
    moments = {run.key: moment_of(run) for run in runs}
    steps = {key: moment.step for key, moment in moments.items() if moment.happened}
    return table.assign(since=table["step"] - table["run"].map(steps).astype(float))


def kept(run: Run, sizes: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run by step, ascending."""
    return sizes[sizes["run"] == run.key].set_index("step").sort_index()


def on_plateau(run: Run, sizes: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run at the kept steps that lie on the plateau."""
    rows = kept(run, sizes)
    return rows[rows.index.isin(plateau_steps(*run.accuracy))]


def same_steps(run: Run, other: Run, sizes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two runs of one seed at the steps that both have kept, up to the earlier EM or end."""
    seeds = [pair.config["model_seed"] for pair in (run, other)]
    if seeds[0] != seeds[1]:
        raise ValueError(f"runs must be paired by their seeds, got seeds {seeds[0]} and {seeds[1]}")
    rows, others = kept(run, sizes), kept(other, sizes)
    last = min(moment.step for moment in map(moment_of, (run, other)))
    steps = [step for step in rows.index.intersection(others.index) if 0 < step <= last]
    return rows.loc[steps], others.loc[steps]


def imbalance(rows: pd.DataFrame) -> pd.Series:
    """Gradient of W_V over the mean of those of W_Q and W_K."""
    return rows["W_V"] / rows[["W_Q", "W_K"]].mean(axis=1)


def gradient_sizes(model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
    """Mean absolute gradient (nats) of W_Q, W_K and W_V for one batch, (L, 3); the model is left in evaluation mode."""
    model.eval()  # without stochastic depth
    model.zero_grad()
    cross_entropy(model(batch.images), batch.labels, label_smoothing=label_smoothing).backward()
    layers = model.attention_layers()
    return weight_gradients(layers, [layer.qkv.weight.grad for layer in layers])


def gradient_table(
    experiments: Mapping[str, Experiment], seeds: Sequence[int], task: TwoStepTask, batch: Batch
) -> pd.DataFrame:
    """:func:`gradient_sizes` before training, one line per method, seed, layer (from 1) and matrix.

    A seed gives every experiment the same initial weights as long as they differ in their attention only.
    """
    lines = []
    for method, experiment in experiments.items():
        for seed in seeds:
            model = experiment.vary(seed=seed).build_model(task)
            sizes = gradient_sizes(model, batch, experiment.training.label_smoothing)
            for layer, values in enumerate(sizes.tolist(), start=1):
                lines += [(method, seed, layer, *pair) for pair in zip(MATRICES, values, strict=True)]
    return pd.DataFrame(lines, columns=["method", "seed", "layer", "matrix", "gradient"])


def gradient_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and layer: the gradient of W_V over that of W_Q, the median over the seeds of a gradient table."""
    wide = table.pivot(index=["method", "layer", "seed"], columns="matrix", values="gradient")
    ratio = (wide["W_V"] / wide["W_Q"]).groupby(["method", "layer"]).median().unstack("layer")
    ratio = ratio.loc[table["method"].unique()].rename(index=label_of, columns="layer {}".format)
    return ratio.rename_axis(index=None, columns=None).round(2)
