"""Today's attention in a table: what each makes of one row of logits."""

from collections.abc import Sequence

import pandas as pd
import torch

from eureka_lib.attention.layer import AttentionWeights
from eureka_lib.attention.registry import METHODS, changes_of, check_attention

HEAD_WIDTH = 16  # features of the example's queries and keys


def example_rows(keys: int, std: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian queries and keys (1, 1, N, D) whose scaled logits have about the standard deviation ``std``."""
    generator = torch.Generator().manual_seed(seed)
    queries, keys_ = torch.randn(2, 1, 1, keys, HEAD_WIDTH, generator=generator)
    return std * queries, keys_


def shape_table(methods: Sequence[str], keys: int = 8, std: float = 1.5, seed: int = 0) -> pd.DataFrame:
    """One row of logits under each of ``methods`` at the start of training: columns method, key, logit, weight.

    ``logit`` is the scaled one, softmax's z. Where a method looks at all rows, it gets the matrix that the row is of.
    """
    queries, keys_ = example_rows(keys, std, seed)
    logits = (queries @ keys_.mT * HEAD_WIDTH**-0.5)[0, 0, 0].tolist()
    tables = []
    for method in methods:
        changes = changes_of(method)
        attention, scale = changes.get("attention", "softmax"), changes.get("scale_start", 1.0)
        prepare = check_attention(attention).prepare or (lambda features: features)
        with torch.no_grad():
            weights = AttentionWeights(attention, scale * HEAD_WIDTH**-0.5)(prepare(queries) @ prepare(keys_).mT)
        tables.append(pd.DataFrame({"method": method, "key": range(1, keys + 1), "logit": logits,
                                    "weight": weights[0, 0, 0].tolist()}).sort_values("logit"))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def shape_kinds(table: pd.DataFrame) -> dict[str, str]:
    """What is special about each method but softmax, by what it does in a :func:`shape_table`; "sum" if nothing is."""
    weights = table[table["method"] != "softmax"].groupby("method", sort=False)["weight"]
    return {
        method: "sees all rows, sum" if METHODS[method].normaliser and not METHODS[method].row_wise
        else "may look away, sum" if abs(one.sum() - 1) > 1e-3
        else "ignores keys, sum" if one.min() == 0
        else "sum"
        for method, one in weights
    }  # fmt: skip
