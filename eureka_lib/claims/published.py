"""Numbers that others have published, to be held against ours; none of them was measured here.

Born et al. 2025, *Quantum Doubly Stochastic Transformers*: a tiny ViT on the paper's main task (batch 512, 100 epochs,
5 seeds). How many seeds had their Eureka-moment within 100 epochs, and the final accuracy, by method and learning rate.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eureka_lib.attention.registry import short_label_of
from eureka_lib.measure.methods import count
from eureka_lib.measure.runs import moment_of
from eureka_lib.store import Run

FOLLOW_UP_SEEDS = 5
QUANTUM = "quantum circuit"  # theirs; there is none here
FOLLOW_UP: dict[tuple[str, float], tuple[int, float]] = {  # seeds with an Eureka-moment, mean final accuracy
    ("softmax", 1e-3): (0, 0.534),
    ("softmax", 7e-4): (0, 0.539),
    ("softmax", 5e-4): (1, 0.611),
    ("norm_softmax_var", 1e-3): (0, 0.486),
    ("norm_softmax_var", 7e-4): (0, 0.509),
    ("norm_softmax_var", 5e-4): (0, 0.510),
    ("sinkhorn", 1e-3): (0, 0.490),
    ("sinkhorn", 7e-4): (0, 0.509),
    ("sinkhorn", 5e-4): (0, 0.516),
    ("qr", 1e-3): (2, 0.612),
    ("qr", 7e-4): (4, 0.729),
    ("qr", 5e-4): (2, 0.664),
    (QUANTUM, 1e-3): (2, 0.700),
    (QUANTUM, 7e-4): (4, 0.823),
    (QUANTUM, 5e-4): (5, 0.894),
}


def follow_up_table(groups: Mapping[tuple[str, float], Sequence[Run]]) -> pd.DataFrame:
    """The published table and ours as one, a row per method and learning rate that either has.

    Columns method, learning rate, and for both ``published`` and ``measured`` the EMs "k/n" and the mean accuracy.
    """
    rows = []
    for method, rate in dict.fromkeys([*FOLLOW_UP, *groups]):
        runs, (k, accuracy) = groups.get((method, rate), ()), FOLLOW_UP.get((method, rate), (None, np.nan))
        rows.append({
            "method": row_label(method),
            "learning rate": rate,
            "published EMs": "" if k is None else f"{k}/{FOLLOW_UP_SEEDS}",
            "published accuracy": accuracy,
            "measured EMs": count(map(moment_of, runs)).replace(" of ", "/") if runs else "",
            "measured accuracy": np.mean([run.final_accuracy for run in runs]) if runs else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def most_jumps(table: pd.DataFrame) -> str:
    """Whose runs jump most often in a :func:`follow_up_table`, over all learning rates: here, and as published."""
    said = []
    for which, where in (("measured", "here"), ("published", "published")):
        counts = (
            table[f"{which} EMs"].str.extract(r"(?P<k>\d+)/(?P<n>\d+)").astype(float).groupby(table["method"]).sum()
        )
        best = counts.drop(QUANTUM)["k"].idxmax()
        k, n = counts.loc[best].astype(int)
        said.append(f"{where} {best}, {k} of {n}" if k else f"{where} none in {counts['n'].sum():.0f} runs")
    return f"Most jumps over all learning rates: {'; '.join(said)}"


def row_label(method: str) -> str:
    return method if method == QUANTUM else short_label_of(method)
