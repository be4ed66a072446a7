"""Masked language modelling in tables: the text, what neighbours tell, where attention goes, and what is guessed.

Attention and guesses are those of kept weights, before and after a run's leap.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.plateaus import Plateau
from eureka_lib.models.roberta import Roberta
from eureka_lib.store import Run
from eureka_lib.tasks.corpora import SPLITS, checksum, load_text
from eureka_lib.tasks.language import MaskedLanguageTask
from eureka_lib.tasks.protocol import Pair
from eureka_lib.validation import check_whole

# Written when only the softmax had been looked at, on seeds from 1000 on: no network gets there without neighbours.
THRESHOLDS = (0.05, 0.10)
AROUND = 6  # tokens on either side of a hidden one
BLANK = "[?]"


def plateau_of(task: MaskedLanguageTask) -> Plateau:
    """The unigram plateau of the task's text, and that a leap is a test loss 5 % below it, or, stricter, 10 %."""
    return Plateau(task.plateau_loss, THRESHOLDS)


def derived_losses(task: MaskedLanguageTask) -> dict[str, float]:
    """The derived losses by the names that stand beside them."""
    return {"unigram": task.plateau_loss, "left neighbour": task.neighbour_loss(-1)}


def text_table(task: MaskedLanguageTask) -> pd.DataFrame:
    """The text in numbers, a row per split: documents, characters and tokens; and the checksum of the whole corpus."""
    config = task.config
    texts = {split: load_text(config.corpus, split)[: config.documents or None] for split in SPLITS}
    table = {
        "documents": {split: len(text) for split, text in texts.items()},
        "characters": {split: sum(map(len, text)) for split, text in texts.items()},
        "tokens": task.sizes,
        f"SHA-256 of {config.corpus}": dict.fromkeys(SPLITS, checksum(config.corpus)),
    }
    return pd.DataFrame(table)


def sample_table(task: MaskedLanguageTask, n: int, seed: int) -> pd.DataFrame:
    """``n`` training samples as a network sees them, and the tokens that it has to guess there, in their order."""
    batch = task.sample(torch.Generator().manual_seed(seed), n)
    rows = zip(batch.shown, batch.ids, batch.chosen, strict=True)
    return pd.DataFrame([
        {"shown": "".join(task.words(shown)), "to be guessed": " | ".join(task.words(ids[chosen]))}
        for shown, ids, chosen in rows
    ])  # fmt: skip


def neighbour_table(task: MaskedLanguageTask, reach: int) -> pd.DataFrame:
    """What one token tells about another: nats per hidden token, by where the known one stands (offset, loss)."""
    offsets = [offset for offset in range(-reach, reach + 1) if offset]
    return pd.DataFrame({"offset": offsets, "loss": [task.neighbour_loss(offset) for offset in offsets]})


def attention_by_offset(model: Roberta, inputs: Tensor, reach: int) -> Tensor:
    """Where hidden tokens look: mean attention weight (layers, heads, 2 reach + 1) by offset of the key, left to right.

    ``inputs`` (B, 2, L) as a network takes them; the mean is over the chosen tokens that have a key at that offset.
    """
    ids, chosen = inputs.unbind(dim=1)
    with torch.no_grad():
        found = model.body.roberta(ids, output_attentions=True).attentions
    weights = torch.stack(found).permute(1, 3, 4, 0, 2)[chosen.bool()]  # (N, L, layers, heads)
    keys = chosen.nonzero()[:, 1:] + torch.arange(-reach, reach + 1)  # (N, 2 reach + 1)
    inside = (keys >= 0) & (keys < ids.shape[1])
    taken = weights[torch.arange(len(keys))[:, None], keys.clamp(0, ids.shape[1] - 1)]
    total = (taken * inside[..., None, None]).sum(dim=0)  # (2 reach + 1, layers, heads)
    return (total / inside.sum(dim=0)[:, None, None]).permute(1, 2, 0)


def attention_table(
    firsts: Mapping[str, tuple[Experiment, Run]], steps: Mapping[str, Mapping[str, int]], task: MaskedLanguageTask,
    samples: int, reach: int,
) -> pd.DataFrame:  # fmt: skip
    """Where hidden tokens look in one run of each method: columns method, phase, step, layer, head, offset, weight.

    ``firsts`` has the runs with their experiments, ``steps`` their kept steps to look at by phase, ``samples`` is how
    many test samples the runs were evaluated on; the first batch of them is shown.
    """
    inputs, tables = task.test_set(samples)[0][0], []
    for method, (experiment, run) in firsts.items():
        for phase, step in steps[method].items():
            weights = attention_by_offset(experiment.model_at(run, step, task), inputs, reach)
            layers, heads, offsets = (axis.flatten() for axis in np.indices(weights.shape))
            facts = {"method": method, "phase": phase, "step": step}
            places = {"layer": layers + 1, "head": heads + 1, "offset": offsets - reach}
            tables.append(pd.DataFrame({**facts, **places, "weight": weights.flatten().numpy()}))
    return pd.concat(tables, ignore_index=True)


def guess_table(
    models: Mapping[str, Roberta], task: MaskedLanguageTask, test_set: list[Pair], sample: int, best: int = 3
) -> pd.DataFrame:
    """A row per hidden token of one test sample: what is shown around it, what it is, and each model's best guesses.

    Beside a guess stands its probability. ``models`` go by what their column is called. Raises ValueError for a
    ``sample`` that is not in the first batch of the test set.
    """
    inputs, labels = test_set[0]
    if check_whole("sample", sample) >= len(inputs):
        raise ValueError(f"sample must be a whole number from 0 to {len(inputs) - 1}, got {sample}")
    inputs, labels = inputs[sample : sample + 1], labels[sample : sample + 1]
    shown, places = task.words(inputs[0, 0]), inputs[0, 1].nonzero()[:, 0].tolist()
    table = pd.DataFrame({
        "shown": ["".join([*shown[max(0, i - AROUND) : i], BLANK, *shown[i + 1 : i + 1 + AROUND]]) for i in places],
        "hidden": task.words(labels[0, places]),
    })  # fmt: skip
    for name, model in models.items():
        with torch.no_grad():
            found = model(inputs).softmax(dim=-1).topk(best)
        table[name] = [
            ", ".join(f"{word!r} {share:.0%}" for word, share in zip(task.words(ids), shares.tolist(), strict=True))
            for ids, shares in zip(found.indices, found.values, strict=True)
        ]
    return table
