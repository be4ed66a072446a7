"""Worked examples for other people's models: three of them untouched, one in training.

:func:`examples` are a GPT-2, a BERT and a ViT of Hugging Face, small and at their initial weights, to look at what an
attention makes of them. :func:`train` takes a Hugging Face ViT through the two-step task with transformers' Trainer.
None of it is part of a comparison of methods: no learning rate was tuned, no verdict follows. The notebook on using the
fixes elsewhere shows them; the fixes themselves are in :mod:`eureka_lib.attention.huggingface`.
"""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from operator import itemgetter

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eureka_lib.attention.huggingface import HeatTreatmentCallback, set_scale_factor, transformers
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import quiet_surroundings
from eureka_lib.progress import Progress
from eureka_lib.tasks.two_step import TwoStepTask

SIZE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128}
WORDS, TOKENS, PADDING = 100, 12, 4
# A method of the paper, in transformers' terms: the name of its attention, and the callbacks of its training.
METHODS = {
    "softmax": ("scaled_softmax", lambda start: []),
    "norm_softmax": ("norm_softmax", lambda start: []),
    "heat_treatment": ("scaled_softmax", lambda start: [HeatTreatmentCallback(start)]),
}


@dataclass(frozen=True)
class Example:
    """A kind of model with one input, and which keys each of its T queries should see: (T, T) bool."""

    config: transformers.PreTrainedConfig
    inputs: dict[str, Tensor]
    visible: Tensor

    def build(self, attention: str, seed: int) -> transformers.PreTrainedModel:
        """The model with that ``attn_implementation``, in evaluation mode; equal seeds have equal weights.

        Its configuration is a copy: models built from one object would share the name of their attention.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = copy.deepcopy(self.config)
            return transformers.AutoModel.from_config(config, attn_implementation=attention).eval()

    def attention(self, model: transformers.PreTrainedModel) -> Tensor:
        """The model's attention weights for the input: (L, H, T, T), rows sum to 1."""
        with torch.no_grad():
            return torch.stack(model(**self.inputs, output_attentions=True).attentions)[:, 0]


def examples(images: Tensor, seed: int) -> dict[str, Example]:
    """GPT-2 and BERT on random words, BERT's last ones padding, and ViT on the first of ``images`` (B, 3, h, h)."""
    words = torch.randint(5, WORDS, (1, TOKENS), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(TOKENS) < TOKENS - PADDING).long()[None]
    size, patch = images.shape[-1], images.shape[-1] // 4
    patches = torch.ones((size // patch) ** 2 + 1, (size // patch) ** 2 + 1, dtype=torch.bool)  # and CLS
    text = {"vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    gpt2 = transformers.GPT2Config(n_embd=64, n_layer=3, n_head=2, **text)
    bert = transformers.BertConfig(**SIZE, **text)
    vit = transformers.ViTConfig(**SIZE, image_size=size, patch_size=patch)
    sentence = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    return {
        "GPT-2, the future hidden": Example(gpt2, {"input_ids": words}, sentence.tril()),
        "BERT, padding hidden": Example(bert, {"input_ids": words, "attention_mask": mask}, sentence * mask.bool()),
        "ViT, nothing hidden": Example(vit, {"pixel_values": images[:1]}, patches),
    }


def evenness(weights: Tensor, visible: Tensor) -> Tensor:
    """Entropy of each row over the log of how many keys it sees, averaged over rows: (L, H, T, T) -> (L, H).

    1 for even weights, 0 for one key alone. Rows that see a single key have no choice and do not count; nor do those
    of tokens that nobody sees, padding.
    """
    rows = (visible.sum(-1) > 1) & visible.any(-2)
    entropy = torch.special.entr(weights).sum(-1)[..., rows]
    return (entropy / visible.sum(-1)[rows].log()).mean(-1)


def temperature_table(given: dict[str, Example], factors: Sequence[float], seed: int) -> pd.DataFrame:
    """How even attention is at each scale factor: columns model, method, factor, layer (from 1), evenness."""
    rows = []
    for (name, example), method in product(given.items(), ("softmax", "norm_softmax")):
        model = example.build(METHODS[method][0], seed)
        for factor in factors:
            set_scale_factor(model, factor)
            even = evenness(example.attention(model), example.visible).mean(-1)
            rows += [(name, method, factor, layer, value) for layer, value in enumerate(even.tolist(), start=1)]
    return pd.DataFrame(rows, columns=["model", "method", "factor", "layer", "evenness"])


def map_table(given: dict[str, Example], seed: int) -> pd.DataFrame:
    """The first head's map in the first layer: columns model, method, query, key, weight, and whether it is visible."""
    rows = []
    for (name, example), (method, attention) in product(
        given.items(), (("softmax", "eager"), ("norm_softmax", "norm_softmax"))
    ):
        weights = example.attention(example.build(attention, seed))[0, 0].double().numpy()
        rows += [(name, method, *place, weight, bool(example.visible[place]))
                 for place, weight in np.ndenumerate(weights)]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "method", "query", "key", "weight", "visible"])


class TwoStepBatches(torch.utils.data.IterableDataset):
    """The two-step task as transformers' Trainer takes it: whole batches, without end, the same ones for each seed.

    Since an item is a batch, the Trainer's own batch size is 1 and its ``data_collator`` takes the only item.
    """

    def __init__(self, task: TwoStepTask, batch_size: int, seed: int):
        self.task, self.batch_size, self.seed = task, batch_size, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        stream = self.task.stream(torch.Generator().manual_seed(self.seed), self.batch_size)
        return ({"pixel_values": batch.images, "labels": batch.labels} for batch in stream)


def two_step_vit(experiment: Experiment, task: TwoStepTask, attention: str, seed: int) -> transformers.PreTrainedModel:
    """A Hugging Face ViT as large as the experiment's, with its ``attn_implementation``; equal seeds, equal weights.

    As in our own ViT, positions start at the standard deviation that the experiment asks for: at Hugging Face's 0.02 a
    network this small takes long to tell its cells apart.
    """
    ours = experiment.model
    config = transformers.ViTConfig(
        image_size=task.image_size, patch_size=ours.patch, num_labels=task.n_classes, hidden_size=ours.width,
        num_hidden_layers=ours.depth, num_attention_heads=ours.heads, qkv_bias=False,
        intermediate_size=int(ours.mlp_ratio * ours.width), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForImageClassification.from_config(config, attn_implementation=attention)
        nn.init.normal_(model.vit.embeddings.position_embeddings, std=ours.position_std)
    return model


class _Record(transformers.TrainerCallback):
    """Records step, loss and scale factor of every log, and moves the progress bar."""

    def __init__(self, progress: Progress, before: int):
        self.progress, self.before, self.rows = progress, before, []

    def on_step_end(self, args, state, control, **others) -> None:
        self.progress.update(self.before + state.global_step)

    def on_log(self, args, state, control, model, logs, **others) -> None:
        if "loss" in logs:
            factor = getattr(model.config, "attention_scale_factor", 1.0)
            self.rows.append({"step": state.global_step, "loss": logs["loss"], "factor": factor})


def train(
    experiment: Experiment, task: TwoStepTask, steps: int, learning_rate: float, seeds: Sequence[int],
    scale_start: float,
) -> pd.DataFrame:  # fmt: skip
    """Train the ViT by each of METHODS, on the CPU: columns method, seed, step, loss (nats), factor.

    The loss is the mean over the steps since the row before, the factor that of the step itself; there are 40 rows a
    training, or one a step. All methods have the same learning rate, initial weights and batches.
    """
    settings, tables, total = experiment.training, [], len(METHODS) * len(seeds) * steps
    with quiet_surroundings(torch.device("cpu")), Progress("transformers' Trainer", total, lines=6) as progress:
        for seed, (method, (attention, callbacks)) in product(seeds, METHODS.items()):
            record = _Record(progress, len(tables) * steps)
            with tempfile.TemporaryDirectory() as folder:
                arguments = transformers.TrainingArguments(
                    folder, max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="constant_with_warmup",
                    warmup_steps=settings.warmup_steps, weight_decay=settings.weight_decay, seed=seed,
                    per_device_train_batch_size=1, logging_steps=max(steps // 40, 1), save_strategy="no",
                    report_to="none", use_cpu=True, disable_tqdm=True,
                )  # fmt: skip
                trainer = transformers.Trainer(
                    two_step_vit(experiment, task, attention, seed), arguments, data_collator=itemgetter(0),
                    train_dataset=TwoStepBatches(task, settings.batch_size, seed),
                    callbacks=[*callbacks(scale_start), record],
                )  # fmt: skip
                trainer.remove_callback(transformers.PrinterCallback)
                trainer.train()
            tables.append(pd.DataFrame(record.rows).assign(method=method, seed=seed))
    return pd.concat(tables, ignore_index=True)[["method", "seed", "step", "loss", "factor"]]
