"""The baseline of whole trainings: the same task, model and optimiser, written the way one would at first.

A ``Dataset`` composes one image per call and a ``DataLoader`` collates them; attention is as in the paper's equations,
logits first; float32, eager, AdamW with torch's defaults, one seed after another. Nothing here is slow on purpose, and
nothing else in the library uses it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import learning_rate_of
from eureka_lib.models.vit import ViT
from eureka_lib.tasks.images import load_images
from eureka_lib.tasks.two_step import BLUE, PALETTE, RED, WHITE, TwoStepConfig

COLOURS = torch.tensor(list(PALETTE.values()))


class Samples(Dataset):
    """The main task, one sample per call; sample ``i`` has target image ``i`` in its top-right cell.

    All else is drawn from torch's global generator: indicators of class 1 or 2, the other target, colours, noise.
    """

    def __init__(self, config: TwoStepConfig, split: str):
        self.config = config
        self.indicators = load_images(config.indicator_source, split, config.cell).of_classes(1, 2)
        self.targets = load_images(config.target_source, split, config.cell)

    def __len__(self) -> int:
        return len(self.targets.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Image (3, 2c, 2c) and label."""
        j, first, second = (int(torch.randint(len(s.labels), ())) for s in (self.targets, *[self.indicators] * 2))
        pictures = (self.indicators.images[first], self.targets.images[i], self.targets.images[j],
                    self.indicators.images[second])  # fmt: skip
        colours = (torch.randint(BLUE, RED + 1, ()), WHITE, WHITE, torch.randint(BLUE, RED + 1, ()))
        cells = [self._coloured(*cell) for cell in zip(pictures, colours, strict=True)]
        image = torch.cat([torch.cat(cells[:2], dim=2), torch.cat(cells[2:], dim=2)], dim=1)
        same = self.indicators.labels[first] == self.indicators.labels[second]
        label = self.targets.labels[i if same else j]
        return (image - self.config.pixel_mean) / self.config.pixel_std, int(label)

    def _coloured(self, picture: Tensor, colour: Tensor | int) -> Tensor:
        rgb = COLOURS[colour] + self.config.colour_noise * torch.randn(3)
        return picture * rgb[:, None, None]  # (3, c, c)


class Straightforward:
    """A training of ``experiment``, a ViT on the main task, on the device ``where``."""

    def __init__(self, experiment: Experiment, where: torch.device | str):
        self.settings, self.where = experiment.training, where
        self.loader = DataLoader(
            Samples(experiment.task, "train"), self.settings.batch_size, shuffle=True, drop_last=True
        )
        self.batches, self.taken = self._endless(), 0
        self.task_config = experiment.task
        self.model = never_fused(experiment.build_model(experiment.build_task())).to(where)
        self.loss = nn.CrossEntropyLoss(label_smoothing=self.settings.label_smoothing)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=self.settings.weight_decay)
        self.learning_rate = learning_rate_of(self.settings)

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def steps(self, n: int) -> list[float]:
        """Train ``n`` steps; their losses."""
        losses = []
        for _ in range(n):
            images, labels = next(self.batches)
            self.optimizer.zero_grad()
            loss = self.loss(self.model(images.to(self.where)), labels.to(self.where))
            loss.backward()
            self.optimizer.param_groups[0]["lr"] = self.learning_rate(self.taken)
            self.optimizer.step()
            self.taken += 1
            losses.append(loss.item())
        return losses

    def train(self) -> list[float]:
        """The whole training, evaluated as often and on as many test samples as the library does; the accuracies."""
        samples = Samples(self.task_config, "test")
        test = DataLoader([samples[i % len(samples)] for i in range(self.settings.test_samples)], 1000)
        accuracies = [self.accuracy(test)]
        while self.taken < self.settings.steps:
            self.steps(min(self.settings.evaluate_every, self.settings.steps - self.taken))
            accuracies.append(self.accuracy(test))
        return accuracies

    @torch.no_grad()
    def accuracy(self, test: DataLoader) -> float:
        """On test samples."""
        self.model.eval()
        hits = [self.model(images.to(self.where)).argmax(dim=1).cpu() == labels for images, labels in test]
        self.model.train()
        return torch.cat(hits).float().mean().item()


def never_fused(model: ViT) -> ViT:
    """The same model, whose attention always takes the naive form: a hook that waits for the weights asks for it."""
    for layer in model.attention_layers():
        layer.weights.register_forward_hook(lambda *given: None)
    return model
