"""How the laptop's regimes and each method's settings were found, as a script that anyone can run again.

``python -m eureka_lib.benchmark.search NAME``, a name in :data:`SEARCHES`. ``flagship`` tries six learning rates for
every method in the regime that judges the paper's main claims, ``tuning`` four in the cheapest one (all else, such as
where Heat Treatment starts, is the paper's), and ``tasks`` four for each network that all tasks are given to. The
others do the same for in-context learning, language modelling, today's attention (``zoo``), and forecasts.
All use seeds from 1000 on, which no notebook reports, and leave raw results, a row per run, in ``figures/search``.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.eureka import eureka_moment, plateau_fraction
from eureka_lib.attention.registry import changes_of
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import ALL_TASKS, Experiment
from eureka_lib.experiments.sweep import sweep_groups
from eureka_lib.measure.in_context import PLATEAU
from eureka_lib.measure.language import plateau_of
from eureka_lib.measure.plateaus import Plateau
from eureka_lib.measure.runs import marks
from eureka_lib.store import Run
from eureka_lib.tasks.language import LanguageConfig
from eureka_lib.tasks.variants import TASKS
from eureka_lib.validation import check_choice

SEARCH_FOLDER = paths.ROOT / "figures" / "search"  # part of the checkout: how it was chosen, whatever runs now
SEARCH_SEEDS = (1000, 1001)
TUNING_SEEDS = (1000, 1001, 1002)
FORECAST_SEEDS = range(1000, 1010)
FLAGSHIP_SEEDS = range(1000, 1008)
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
RESNET_RATES = (1e-3, 2e-3, 4e-3, 8e-3)
FLAGSHIP_RATES = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
FLAGSHIP_METHODS = ("softmax", "norm_softmax_var", "norm_softmax", "heat_treatment")
FLAGSHIP_CONTROLS = ("query_key_rate_12", "query_key_rate_48", "heat_treatment_matched", "fixed_temperature")
EM_TIME, LEAP_TIME = "EM or censored at step", "leap or censored at step"

Groups = dict[tuple | str, Experiment]


# --- what a run says about its group ---------------------------------------------------------------------------------


def moment_marks(run: Run) -> dict:
    """EM, plateau, accuracy, and, on the plateau, gradient ratios and entropy."""
    history, moment = run.history, eureka_moment(*run.accuracy)
    marks = {
        "seed": run.config["model_seed"],
        "EM": moment.happened,
        EM_TIME: moment.step,
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


def forecast_marks(run: Run) -> dict:
    """As for a moment, and the accuracy at a tenth of the budget."""
    tenth = run.history["step"] == run.history["step"].iloc[-1] // 10
    return moment_marks(run) | {"accuracy at a tenth": float(run.history.loc[tenth, "test_accuracy"].iloc[0])}


def in_context_marks(run: Run) -> dict:
    """The leap off the plateau of linear functions in context."""
    return marks(run, PLATEAU)


def language_marks(run: Run) -> dict:
    """The leap off the unigram plateau of the run's own text."""
    return marks(run, _language_plateau(LanguageConfig(**run.config["task"])))


@cache
def _language_plateau(config: LanguageConfig) -> Plateau:
    return plateau_of(ALL_TASKS[config.name](config))


# --- what is tried ---------------------------------------------------------------------------------------------------


def tuning(base: Experiment, methods: Iterable[str], rates: Sequence[float] = LEARNING_RATES) -> Groups:
    """Every method at each learning rate."""
    return {(method, rate): base.vary(**changes_of(method), learning_rate=rate) for method in methods for rate in rates}


def budgets() -> Groups:
    """The flagship's softmax with a budget as long as its plateau, and the ResNet that is held against it."""
    softmax = tuning(profiles.FLAGSHIP_VIT, ["softmax"])
    resnets = {("resnet9", rate): profiles.FLAGSHIP_RESNET.vary(learning_rate=rate) for rate in LEARNING_RATES}
    return softmax | resnets


def tasks() -> Groups:
    """The laptop's gallery, every task with both networks, at four learning rates each."""
    gallery = profiles.get("laptop").gallery
    return {
        (network, task, rate): gallery.experiment(network, task).vary(learning_rate=rate)
        for network, rates in {"softmax": LEARNING_RATES, "resnet9": RESNET_RATES}.items()
        for rate in rates
        for task in TASKS
    }


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


def forecast_candidates() -> dict[str, Experiment]:
    """Candidate regimes for forecasts: cheap ones, of 600 steps, with an early warm-up and close evaluations.

    The rule: of the candidates in which no Eureka-moment comes within the first tenth, that whose share of runs with
    one is closest to 5/8, the middle of a half and three quarters; ties go to the earlier plateau.
    """
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


# --- the searches ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """Experiments to try by their values of ``columns``, each on all ``seeds``; ``marks(run)`` are further columns.

    A tuning has a rule: per value of the columns ``of``, the learning rate with the least mean of the first of ``by``;
    ties go to the higher mean of the second.
    """

    groups: Callable[[], Groups]
    columns: tuple[str, ...]  # with one column the groups' names are its values, not tuples
    seeds: Sequence[int] = SEARCH_SEEDS
    marks: Callable[[Run], dict] = moment_marks
    of: tuple[str, ...] = ()
    by: tuple[str, str] = (EM_TIME, "final accuracy")

    def table(self, title: str) -> pd.DataFrame:
        """Train everything; a row per run."""
        groups = {key: [e.vary(seed=seed) for seed in self.seeds] for key, e in self.groups().items()}
        found = sweep_groups(groups, title=title)
        rows = pd.DataFrame([self.marks(run) for runs in found.values() for run in runs]).round(4)
        keys = [key if isinstance(key, tuple) else (key,) for key, runs in found.items() for run in runs]
        return pd.DataFrame(keys, columns=self.columns).join(rows)

    def best(self, table: pd.DataFrame) -> pd.DataFrame:
        """What the rule chooses from the table."""
        of, by = list(self.of), list(self.by)
        means = table.groupby([*of, "learning_rate"], sort=False)[by].mean().reset_index()
        return means.sort_values(by, ascending=[True, False]).drop_duplicates(of).sort_values(of, ignore_index=True)


LAPTOP = profiles.get("laptop")
METHOD = {"columns": ("method", "learning_rate"), "of": ("method",), "seeds": TUNING_SEEDS}
FLAGSHIP = METHOD | {"seeds": FLAGSHIP_SEEDS}
LEAP = METHOD | {"by": (LEAP_TIME, "final score")}
SEARCHES = {
    "tuning": Search(lambda: tuning(LAPTOP.cheap.base, LAPTOP.cheap.tuned), **METHOD),
    "tasks": Search(tasks, ("network", "task", "learning_rate"), of=("network",)),
    "zoo": Search(lambda: tuning(LAPTOP.zoo.base, profiles.TUNED_ZOO), **METHOD),
    "flagship": Search(lambda: tuning(profiles.FLAGSHIP, FLAGSHIP_METHODS, FLAGSHIP_RATES), **FLAGSHIP),
    "flagship_budgets": Search(budgets, **METHOD | {"seeds": FLAGSHIP_SEEDS[:3]}),
    "flagship_controls": Search(lambda: tuning(profiles.FLAGSHIP, FLAGSHIP_CONTROLS, FLAGSHIP_RATES), **FLAGSHIP),
    "in_context": Search(
        lambda: tuning(LAPTOP.in_context.base, LAPTOP.in_context.tuned), marks=in_context_marks, **LEAP
    ),
    "language": Search(lambda: tuning(LAPTOP.language.base, LAPTOP.language.tuned), marks=language_marks, **LEAP),
    "in_context_regimes": Search(in_context_candidates, ("regime",), marks=in_context_marks),
    "language_regimes": Search(language_candidates, ("regime",), marks=language_marks),
    "forecast_regimes": Search(forecast_candidates, ("regime",), FORECAST_SEEDS, forecast_marks),
}


def table_of(name: str) -> pd.DataFrame:
    """The stored table of a search, a row per run; ValueError for an unknown one."""
    return pd.read_csv(SEARCH_FOLDER / f"{check_choice('search', name, SEARCHES)}.csv")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the searches and write its table."""
    parser = argparse.ArgumentParser(prog="python -m eureka_lib.benchmark.search", description=__doc__.split("\n")[0])
    parser.add_argument("name", help=", ".join(SEARCHES))
    name = check_choice("search", parser.parse_args(arguments).name, SEARCHES)
    table = SEARCHES[name].table(name)
    SEARCH_FOLDER.mkdir(parents=True, exist_ok=True)
    table.to_csv(SEARCH_FOLDER / f"{name}.csv", index=False, lineterminator="\n")
    print(f"{len(table)} runs in {SEARCH_FOLDER / name}.csv")
    if SEARCHES[name].of:
        print(SEARCHES[name].best(table).to_string())


if __name__ == "__main__":
    main()
