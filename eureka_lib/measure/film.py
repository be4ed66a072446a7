"""A stored run as a film: what its network sees and knows at every kept step."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.probes import ALL_TOKENS, READ
from eureka_lib.measure.maps import asking, attention_maps, names_of
from eureka_lib.measure.probes import Job, answers, probe
from eureka_lib.measure.subjects import Subject
from eureka_lib.progress import Progress
from eureka_lib.tasks.two_step import TwoStepTask

MOST_MAPS = 16  # pictures at a step; with more of them, they are averages over the heads of a layer
PROBED = {  # what the film shows of the probes, at the output of the last block: what is asked for, on which tokens
    f"{asked}, {tokens}": (asked, tokens)
    for asked, tokens in (("indicators", ALL_TOKENS), ("which target", ALL_TOKENS), ("which target", READ))
}


@dataclass(frozen=True)
class Film:
    """A run that kept its weights, looked at once at every kept step, so that scrubbing only has to draw."""

    subject: Subject
    steps: list[int]
    maps: Tensor  # (steps, maps, P, P): attention among the model's places
    names: list[str]  # of the maps
    probes: pd.DataFrame  # a row per step: step, and an accuracy for each of PROBED
    plateau: float  # derived: the accuracy of guessing between the two targets
    losses: dict[str, float]  # derived: the training loss on the plateau and when solved

    @property
    def history(self) -> pd.DataFrame:
        """The run's evaluations."""
        return self.subject.run.history

    @cached_property
    def looks(self) -> tuple[Tensor, list[str]]:
        """Where those :func:`asking` look on the picture, (steps, maps * queries, 2, 2), and who each of them is."""
        queries = asking(self.maps.shape[-1])
        names = [names_of(self.maps.shape[-1])[i] for i in queries]
        return self.maps[:, :, queries, -4:].flatten(1, 2).unflatten(-1, (2, 2)), names * len(self.names)

    def table(self) -> pd.DataFrame:
        """Everything that can be shown, as numbers: a row per kept step."""
        at = self.history.set_index("step").reindex(self.steps, method="nearest")
        shown = self.probes.assign(train_loss=at["train_loss"].values, test_accuracy=at["test_accuracy"].values)
        places = names_of(self.maps.shape[-1])
        for (i, name), query, (key, to) in product(enumerate(self.names), asking(len(places)), enumerate(places)):
            shown[f"{name}, {places[query]} to {to}"] = self.maps[:, i, query, key].numpy()
        return shown


def says(film: Film) -> str:
    """What the probes of a film find at the kept step half-way to the Eureka-moment, and at the last one."""
    at = film.probes.set_index("step").loc[[film.subject.halfway, film.subject.end]]
    asked = {"indicators": "indicators", "which target": "which target counts"}
    found = [f"{words} {half:.2f}, then {end:.2f}"
             for name, words in asked.items() for half, end in [at[f"{name}, {ALL_TOKENS}"]]]  # fmt: skip
    return f"What a probe reads half-way to the jump, and at the end: {'; '.join(found)}"


def develop(subject: Subject, task: TwoStepTask, images: Tensor, samples: int) -> Film:
    """Look at every kept step of a run: attention maps over ``images``, and probes with ``samples`` to learn from."""
    steps = subject.run.weight_steps
    with Progress("attention maps", len(steps), lines=1) as progress:
        maps = []
        for done, step in enumerate(steps, start=1):
            maps.append(attention_maps(subject, step, task, images))
            progress.update(done)
    found = torch.stack(maps)  # (S, L, H, P, P)
    layers, heads = found.shape[1:3]
    names = [f"layer {layer + 1}\nhead {head + 1}" for layer in range(layers) for head in range(heads)]
    if layers * heads * len(asking(found.shape[-1])) > MOST_MAPS:
        found, names = found.mean(dim=2, keepdim=True), [f"layer {layer + 1}" for layer in range(layers)]
    probed = answers(probe([Job(subject, step, ("claims",)) for step in steps], samples), "claims")
    at = probed.set_index(["asked", "tokens", "step"])["accuracy"].sort_index()
    probes = pd.DataFrame({"step": steps} | {name: at[asked, tokens].loc[steps].values
                                             for name, (asked, tokens) in PROBED.items()})  # fmt: skip
    smoothing = subject.experiment.training.label_smoothing
    losses = {"plateau": task.plateau_loss(smoothing), "floor": task.floor_loss(smoothing)}
    return Film(subject, steps, found.flatten(1, 2), names, probes, task.plateau_accuracy, losses)
