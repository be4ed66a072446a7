"""How the laptop's regimes and each method's settings were found, as a script that anyone can run again.

``python -m eureka_lib.benchmark.search regimes`` tries candidate regimes and scores them by the paper's marks: a long
plateau at the derived 0.55, each step alone learned at once, a ResNet without plateau, W_Q and W_K starved of gradient
on the plateau, and earlier Eureka-moments with the fixes. ``python -m eureka_lib.benchmark.search tuning`` then tries
the same four learning rates for every method in the chosen regimes (all else, such as where Heat Treatment starts, is
the paper's), and ``python -m eureka_lib.benchmark.search tasks`` four for each network that all tasks are given to;
``python -m eureka_lib.benchmark.search in_context`` does for in-context learning what ``tuning`` does, and
``in_context_regimes`` tries sizes for it; ``language`` and ``language_regimes`` do so for language modelling. ``zoo``
is the ``tuning`` of today's attention, in the cheapest regime; ``flagship`` tunes the paper's methods in the flagship
regime; ``forecast_regimes`` looks for one in which an Eureka-moment may come or not.
All use seeds from 1000 on, which no notebook reports, and leave raw results, a row per run, in ``figures/search``.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.eureka import plateau_fraction
from eureka_lib.attention.registry import METHODS
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import TASKS, Experiment
from eureka_lib.experiments.sweep import sweep_groups
from eureka_lib.measure.in_context import PLATEAU
from eureka_lib.measure.language import plateau_of
from eureka_lib.measure.plateaus import Plateau
from eureka_lib.measure.runs import marks, moment_of
from eureka_lib.models.resnet import ResNetConfig
from eureka_lib.store import Run
from eureka_lib.validation import check_choice

SEARCH_FOLDER = paths.ROOT / "figures" / "search"  # part of the checkout: how it was chosen, whatever runs now
SEARCH_SEEDS = (1000, 1001)
TUNING_SEEDS = (1000, 1001, 1002)
FORECAST_SEEDS = range(1000, 1010)
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
FLAGSHIP_SEEDS = range(1000, 1008)
FLAGSHIP_RATES = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
FLAGSHIP_METHODS = ("softmax", "norm_softmax_var", "norm_softmax", "heat_treatment")
GALLERY_RATES = {"softmax": LEARNING_RATES, "resnet9": (1e-3, 2e-3, 4e-3, 8e-3)}
CHOSEN = ("digits, 4 tokens", "patterns, 16 tokens", "patterns, 4 tokens, batch 64")  # for notebook 05
RULES = {  # what best_settings is asked for
    "tuning": {"of": ["regime", "method"]},
    "tasks": {"of": ["network"]},
    "zoo": {"of": ["method"]},
    "flagship": {"of": ["method"]},
    "in_context": {"of": ["method"], "by": ["leap or censored at step", "final score"]},
    "language": {"of": ["method"], "by": ["leap or censored at step", "final score"]},
}
FEATURED = ("softmax", "norm_softmax", "heat_treatment")  # the methods that a candidate regime is scored with


def candidates() -> dict[str, Experiment]:
    """Candidate regimes by name; all have width 64 and a constant learning rate after a short warm-up."""
    four = profiles.DIGITS_VIT.vary(steps=2400)
    patterns = replace(four, task=profiles.PATTERNS).vary(patch=6)
    quick = {"depth": 2, "heads": 4, "learning_rate": 1e-3}
    many = {**quick, "steps": 2500, "batch_size": 64}
    return {
        "digits, 4 tokens": four,
        "digits, 4 tokens, weights 0.04": four.vary(weight_std=0.04),
        "digits, 16 tokens": four.vary(patch=4, **many),
        "digits, 16 tokens, depth 3": four.vary(patch=4, **{**many, "depth": 3, "heads": 2}),
        "patterns, 4 tokens": patterns,
        "patterns, 4 tokens, positions 0.02": patterns.vary(position_std=0.02),
        "patterns, 4 tokens, depth 2": patterns.vary(steps=2000, **quick),
        "patterns, 4 tokens, depth 2, positions 0.2": patterns.vary(steps=2000, position_std=0.2, **quick),
        "patterns, 4 tokens, depth 2, positions 0.02": patterns.vary(position_std=0.02, **quick),
        "patterns, 16 tokens": patterns.vary(patch=3, **many),
        "patterns, 4 tokens, batch 64": profiles.PATTERNS_4.vary(steps=1500),
        "patterns, 16 tokens, batch 32": patterns.vary(patch=3, **{**many, "batch_size": 32}),
    }


def search_regimes() -> pd.DataFrame:
    """Train all candidates with the featured methods, and the chosen ones with the controls; a row per run.

    The controls are the two single steps and ResNet9.
    """
    groups = {}
    for name, base in candidates().items():
        for method in FEATURED:
            groups[name, method] = [base.vary(seed=seed, **METHODS[method]) for seed in SEARCH_SEEDS]
        if name in CHOSEN:
            for control in ("targets_only", "indicators_only"):
                groups[name, control] = [base.vary(seed=seed, task=control) for seed in SEARCH_SEEDS]
            resnet = replace(base, model=ResNetConfig(base_width=16, stem="small")).vary(learning_rate=1e-3, steps=1000)
            groups[name, "resnet9"] = [resnet.vary(seed=seed) for seed in SEARCH_SEEDS]
    found = sweep_groups(groups, title="regimes")
    return _table(found, ("regime", "what"))


def regime_summary() -> pd.DataFrame:
    """The stored table of ``search regimes``, a row per candidate: EM steps of its seeds, and the gradient ratios."""
    table = pd.read_csv(SEARCH_FOLDER / "regimes.csv")
    steps = table["EM or censored at step"].astype(str)
    table["step"] = steps.where(table["EM"], "> " + steps)
    summary = table.pivot_table(index="regime", columns="what", values="step", aggfunc=", ".join, sort=False)
    on_plateau = table[table["what"] == "softmax"].groupby("regime")
    summary["plateau, share"] = on_plateau["plateau, share of budget"].mean().round(2)
    for ratio in ("gradient V/Q", "gradient V/K"):
        summary[ratio] = on_plateau[ratio].mean().round(1)
    return summary.fillna("")


def search_settings() -> pd.DataFrame:
    """Train every method of the laptop's regimes at each learning rate on the tuning seeds; a row per run."""
    groups = {
        (regime.name, *setting): experiments
        for regime in profiles.get("laptop").regimes
        for setting, experiments in _settings(regime).items()
    }
    found = sweep_groups(groups, title="tuning")
    return _table(found, ("regime", "method", "learning_rate"))


def search_flagship() -> pd.DataFrame:
    """Train the paper's methods in the flagship regime at each of six learning rates, on eight seeds; a row per run."""
    groups = {
        (method, rate): [
            profiles.FLAGSHIP.vary(**METHODS[method], learning_rate=rate, seed=seed) for seed in FLAGSHIP_SEEDS
        ]
        for method in FLAGSHIP_METHODS
        for rate in FLAGSHIP_RATES
    }
    return _table(sweep_groups(groups, title="flagship tuning"), ("method", "learning_rate"))


def search_zoo() -> pd.DataFrame:
    """As ``search_settings``, for the zoo's attentions; the paper's methods have their rates from there already."""
    zoo = replace(profiles.get("laptop").zoo, tuned=profiles.TUNED_ZOO)
    return _table(sweep_groups(_settings(zoo), title="zoo tuning"), ("method", "learning_rate"))


def best_settings(
    table: pd.DataFrame,
    of: Sequence[str] = ("regime", "method"),
    by: Sequence[str] = ("EM or censored at step", "final accuracy"),
) -> pd.DataFrame:
    """The rule of the tuning: per regime and method the learning rate with the least mean restricted EM time.

    Ties go to the higher mean final accuracy. The rule for the tasks is the same ``of`` each network, over all tasks,
    and that for leaps the same ``by`` their time and the final score.
    """
    of, by = list(of), list(by)
    means = table.groupby([*of, "learning_rate"], sort=False)[by].mean()
    ranked = means.reset_index().sort_values(by, ascending=[True, False])
    return ranked.drop_duplicates(of).sort_values(of).reset_index(drop=True)


def search_tasks() -> pd.DataFrame:
    """Train the laptop's gallery, every task with both networks, at four learning rates each; a row per run."""
    gallery = profiles.get("laptop").gallery
    groups = {
        (network, task, rate): [
            gallery.experiment(network, task).vary(seed=seed, learning_rate=rate) for seed in SEARCH_SEEDS
        ]
        for network, rates in GALLERY_RATES.items()
        for rate in rates
        for task in TASKS
    }
    found = sweep_groups(groups, title="tasks")
    return _table(found, ("network", "task", "learning_rate"))


def search_in_context() -> pd.DataFrame:
    """Train every method of the laptop's in-context regime at each learning rate on the tuning seeds; a row per run."""
    return _leap_settings(profiles.get("laptop").in_context, _in_context_plateau, "in-context tuning")


def in_context_candidates() -> dict[str, Experiment]:
    """Candidate regimes of in-context learning: the laptop's, which was chosen, with one thing changed at a time."""
    base = profiles.get("laptop").in_context.base
    return {
        "chosen": base,
        "positions 0.02": base.vary(position_std=0.02),
        "positions 0.3": base.vary(position_std=0.3),
        "d = 3, 7 points": base.vary(dimensions=3, points=7),
        "d = 5, 11 points": base.vary(dimensions=5, points=11),
        "depth 2": base.vary(depth=2),
        "width 64": base.vary(width=64),
        "batch 32": base.vary(batch_size=32),
    }


def search_in_context_regimes() -> pd.DataFrame:
    """Train the candidates with softmax at one learning rate, looking for a plateau with a leap; a row per run."""
    return _leap_regimes(in_context_candidates(), _in_context_plateau, "in-context regimes")


def search_language() -> pd.DataFrame:
    """Train every method of the laptop's language regime at each learning rate on the tuning seeds; a row per run."""
    return _leap_settings(profiles.get("laptop").language, _language_plateau, "language tuning")


def language_candidates() -> dict[str, Experiment]:
    """Candidate regimes of language modelling: the laptop's, which was chosen, with one thing changed at a time."""
    base = profiles.get("laptop").language.base
    return {
        "chosen": base,
        "vocabulary 300": base.vary(vocabulary=300),
        "vocabulary 1,024": base.vary(vocabulary=1024),
        "16 tokens, batch 144": base.vary(tokens=16, batch_size=144),
        "36 tokens, batch 64": base.vary(tokens=36, batch_size=64),
        "weights 0.02": base.vary(weight_std=0.02),
        "2 heads": base.vary(heads=2),
        "depth 3": base.vary(depth=3),
    }


def search_language_regimes() -> pd.DataFrame:
    """Train the candidates with softmax at one learning rate, looking for a plateau with a leap; a row per run."""
    return _leap_regimes(language_candidates(), _language_plateau, "language regimes")


def forecast_candidates() -> dict[str, Experiment]:
    """Candidate regimes for forecasts: cheap ones, of 600 steps, with an early warm-up and close evaluations."""
    base = profiles.PATTERNS_4.vary(warmup_steps=12, evaluate_every=10)
    two = base.vary(depth=2, heads=4)
    return {
        "depth 3, rate 0.0007": base.vary(learning_rate=7e-4),
        "depth 3, rate 0.001": base.vary(learning_rate=1e-3),
        "depth 2, positions 0.3, rate 0.001": two.vary(position_std=0.3, learning_rate=1e-3),
        "depth 2, positions 0.3, rate 0.002": two.vary(position_std=0.3, learning_rate=2e-3),
        "depth 2, positions 0.5, rate 0.001": two.vary(position_std=0.5, learning_rate=1e-3),
        "depth 2, positions 0.5, rate 0.002": two.vary(position_std=0.5, learning_rate=2e-3),
        "depth 2, positions 1, rate 0.001": two.vary(learning_rate=1e-3),
    }


def search_forecast_regimes() -> pd.DataFrame:
    """Train the candidates for forecasts with softmax; a row per run, with its accuracy at a tenth of the budget.

    The rule: of the candidates in which no Eureka-moment comes within the first tenth, that whose share of runs with
    one is closest to 5/8, the middle of a half and three quarters; ties go to the earlier plateau.
    """
    groups = {(name,): [e.vary(seed=seed) for seed in FORECAST_SEEDS] for name, e in forecast_candidates().items()}

    def marks(run: Run) -> dict:
        tenth = run.history["step"] == run.history["step"].iloc[-1] // 10
        return _marks(run) | {"accuracy at a tenth": float(run.history.loc[tenth, "test_accuracy"].iloc[0])}

    return _table(sweep_groups(groups, title="forecast regimes"), ("regime",), marks)


def _in_context_plateau(experiment: Experiment) -> Plateau:
    return PLATEAU


def _language_plateau(experiment: Experiment) -> Plateau:
    return plateau_of(experiment.build_task())


def _leap_settings(regime: profiles.Regime, plateau_of: Callable[[Experiment], Plateau], title: str) -> pd.DataFrame:
    """Train a regime's settings; a row per run, with its leap off the plateau."""
    plateau = plateau_of(regime.base)
    found = sweep_groups(_settings(regime), title=title)
    return _table(found, ("method", "learning_rate"), lambda run: marks(run, plateau))


def _leap_regimes(
    candidates: Mapping[str, Experiment], plateau_of: Callable[[Experiment], Plateau], title: str
) -> pd.DataFrame:
    """Train the candidates; a row per run, with its leap off the plateau of its own candidate."""
    groups = {name: [e.vary(seed=seed) for seed in SEARCH_SEEDS] for name, e in candidates.items()}
    found, plateaus = sweep_groups(groups, title=title), {name: plateau_of(e) for name, e in candidates.items()}
    return pd.DataFrame([
        {"regime": name} | marks(run, plateaus[name]) for name, runs in found.items() for run in runs
    ])  # fmt: skip


def _settings(regime: profiles.Regime) -> dict[tuple, list[Experiment]]:
    """Every method of a regime at each learning rate, on the tuning seeds."""
    return {
        (method, rate): [regime.base.vary(seed=seed, **METHODS[method], learning_rate=rate) for seed in TUNING_SEEDS]
        for method in regime.tuned
        for rate in LEARNING_RATES
    }


def _marks(run: Run) -> dict:
    """What a run says about its regime: EM, plateau, accuracy, and, on the plateau, gradient ratios and entropy."""
    history, moment = run.history, moment_of(run)
    marks = {
        "seed": run.config["model_seed"],
        "EM": moment.happened,
        "EM or censored at step": moment.step,
        "plateau, share of budget": round(plateau_fraction(*run.accuracy), 3),
        "final accuracy": run.final_accuracy,
    }
    if "gradient_v" in history:
        plateau = history[(history["step"] > 0) & (history["step"] < moment.step)].tail(10)
        marks |= {
            "gradient V/Q": (plateau["gradient_v"] / plateau["gradient_q"]).median(),
            "gradient V/K": (plateau["gradient_v"] / plateau["gradient_k"]).median(),
            "attention entropy": plateau["attention_entropy"].median(),
        }
    return marks


def _table(
    found: Mapping[tuple, Sequence[Run]], names: Sequence[str], marks: Callable[[Run], dict] = _marks
) -> pd.DataFrame:
    """A row per run: its group's key under ``names``, and its ``marks``."""
    return pd.DataFrame(
        [dict(zip(names, key, strict=True)) | marks(run) for key, runs in found.items() for run in runs]
    )


def main() -> None:
    """Run one of the searches and write its table."""
    parser = argparse.ArgumentParser(prog="python -m eureka_lib.benchmark.search", description=__doc__.split("\n")[0])
    searches = {"regimes": search_regimes, "tuning": search_settings, "tasks": search_tasks,
                "in_context": search_in_context, "in_context_regimes": search_in_context_regimes,
                "language": search_language, "language_regimes": search_language_regimes,
                "zoo": search_zoo, "flagship": search_flagship,
                "forecast_regimes": search_forecast_regimes}  # fmt: skip
    parser.add_argument("what", help=", ".join(searches))
    what = check_choice("search", parser.parse_args().what, searches)
    table = searches[what]()
    SEARCH_FOLDER.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(SEARCH_FOLDER / f"{what}.csv", index=False, lineterminator="\n")
    print(f"{len(table)} runs in {SEARCH_FOLDER / what}.csv")
    if what in RULES:
        print(best_settings(table, **RULES[what]).to_string())


if __name__ == "__main__":
    main()
