"""What C7 and C8 rest on: the plateau of each task, and in words what was trained and at which scale."""

from dataclasses import dataclass

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.in_context import PLATEAU
from eureka_lib.measure.language import plateau_of
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.tasks.language import MaskedLanguageTask

SOURCES = {"docstrings": "the documentation in Python's standard library", "wikitext": "WikiText-103"}


@dataclass(frozen=True)
class Study:
    """What rows about leaps rest on: the ``claim``, the ``plateau``, and ``about``, what was trained at which scale.

    ``about`` continues "There is a long plateau in ..." and stands in the text of every verdict.
    """

    claim: str
    about: str
    plateau: Plateau


TWO_STEP = Study("C1", "", ACCURACY)


def language(experiment: Experiment, task: MaskedLanguageTask) -> Study:
    """What claim C7 rests on, in words: the text and the network of ``experiment``, and its scale."""
    config, model, training = task.config, experiment.model, experiment.training
    about = (
        f"masked language modelling (RoBERTa, {model.depth} layers of width {model.width}; "
        f"{SOURCES.get(config.corpus, config.corpus)}, {task.sizes['train']:,} tokens, {config.vocabulary:,} different "
        f"ones, {config.tokens} in a sample; {training.steps:,} steps of batch {training.batch_size})"
    )
    return Study("C7", about, plateau_of(task))


def in_context(experiment: Experiment) -> Study:
    """What claim C8 rests on, in words: the task and the network of ``experiment``, and its scale."""
    task, model, training = experiment.task, experiment.model, experiment.training
    about = (
        f"in-context learning (GPT-2, {model.depth} layers of width {model.width}; linear functions, d = "
        f"{task.dimensions}, {task.points} points, no curriculum; {training.steps:,} steps of batch "
        f"{training.batch_size})"
    )
    return Study("C8", about, PLATEAU)
