"""The film of one run: a frame for each of its kept steps, from the data of the figure that shows the same at four.

The attention is a mean over images whose indicators match, and is drawn on one such image: that of CLS or, in a network
without, of an indicator and of a target.
"""

import json
import re
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from eureka_lib.analysis.eureka import THRESHOLD, eureka_moment
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots.probes import COLOURS
from eureka_lib.plots.samples import picture
from eureka_lib.tasks.two_step import CELL_NAMES, Batch

NAME = "16_stored_run"
MOST_MAPS = 6  # pictures beside each other
CURVES = {  # what is drawn of the CSV: its name there, and on the page
    "indicators, all tokens": "probe: what the indicators are",
    "which target, all tokens": "probe: which target counts",
    "test_accuracy": "the network's answers",
}


def film(folder: Path) -> dict | None:
    """The figure's data in ``folder``, ready for the template ``film.html.j2``; None if they are not there."""
    if not (folder / f"{NAME}.csv").exists():
        return None
    (group,) = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))["runs"]
    task = Experiment.from_config(group["config"] | group["seeds"][0]).build_task()
    sample = task.sample(torch.Generator().manual_seed(1), 64, "test")
    first = (sample.same & (sample.cells[:, 1] != sample.cells[:, 2])).nonzero()[0]
    shown = Batch(**{name: values[first] for name, values in vars(sample).items()})
    table = pd.read_csv(folder / f"{NAME}.csv")
    x = (table["step"] / table["step"].max()).round(4)
    maps = _maps(table)
    seen = pd.concat([part[list(CELL_NAMES)] for part in maps.values()], axis=1)
    said, target = _said(table, task.plateau_accuracy), int(shown.target[0])
    frames = zip(x, said, _measured(table), seen.round(3).to_numpy().tolist(), strict=True)
    return {
        "curves": [
            (words, COLOURS.get(column.split(",")[0], "black"), " ".join(f"{a},{b:.3f}" for a, b in
             zip(x, table[column], strict=True))) for column, words in CURVES.items()
        ],
        "frames": [dict(zip(("x", "said", "measured", "weights"), frame, strict=True)) for frame in frames],
        "levels": {"accuracy": 1, "plateau": task.plateau_accuracy, "chance": 1 / task.n_classes},
        "figure": NAME, "last": table["step"].max(), "maps": list(maps), "target": target,
        "picture": Image.fromarray((255 * picture(shown, 0)).astype("uint8")),
    }  # fmt: skip


def _maps(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is looked at, a column per place, by the layer, the head and who looks; over heads if there are many."""
    parts: dict[tuple[str, ...], dict[str, pd.Series]] = {}
    for column in table.filter(like=" to "):
        whose, place = column.split(" to ")
        layer, head, who = re.fullmatch("(layer \\d+)(\nhead \\d+)?, (.+)", whose).groups("")
        parts.setdefault((layer, head, who), {})[place] = table[column]
    maps = {names: pd.DataFrame(part) for names, part in parts.items()}
    if len(maps) > MOST_MAPS:
        whose = dict.fromkeys((layer, "", who) for layer, _, who in maps)
        maps = {
            (layer, _, who): sum(alike := [part for key, part in maps.items() if key[::2] == (layer, who)]) / len(alike)
            for layer, _, who in whose
        }
    return {f"{layer}{head}, {who}": part for (layer, head, who), part in maps.items()}


def _said(table: pd.DataFrame, plateau: float) -> list[str]:
    """What becomes of the run at each step, in a sentence."""
    moment = eureka_moment(table["step"], table["test_accuracy"])
    found = table["which target, all tokens"] >= THRESHOLD
    read = table["test_accuracy"].cummax() >= 0.9 * plateau
    return [
        f"Since its Eureka-moment at step {moment.step} it compares the indicators, and reads the target that counts."
        if moment.happened and step >= moment.step
        else "Before its Eureka-moment: which target counts can be found in its tokens, not yet in its answers."
        if finds
        else "On the plateau: it reads both targets, and guesses which one counts."
        if reads
        else "Before the plateau: it learns to read the digits."
        for step, finds, reads in zip(table["step"], found, read, strict=True)
    ]


def _measured(table: pd.DataFrame) -> list[str]:
    """The numbers behind it."""
    numbers = zip(table["step"], table["test_accuracy"], table["which target, all tokens"], strict=True)
    return [
        f"Step {step}: accuracy {accuracy:.2f}. A probe for which target counts: {finds:.2f} (0.50: a guess)."
        for step, accuracy, finds in numbers
    ]
