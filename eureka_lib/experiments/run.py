"""From an experiment to its stored run: found in the store, or trained first.

``run(experiment)`` returns the stored run if there is one and trains otherwise, so the same call gives the same answer
from a notebook, papermill or another process.
"""

from pathlib import Path

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import OnEvaluation, train
from eureka_lib.store import Run, RunStore
from eureka_lib.store.runs import kept_steps
from eureka_lib.validation import check_whole


def run(
    experiment: Experiment,
    store: RunStore | None = None,
    on_evaluation: OnEvaluation | None = None,
    weights_every: int = 0,
) -> Run:
    """The stored run of ``experiment``, trained first if there is none.

    ``on_evaluation`` is called with the history so far after every evaluation, or once with all of it if it was stored.
    With ``weights_every`` the run also keeps its weights: every so many steps, and after the last. The training itself
    is the same, bit for bit. A long training that was interrupted is continued from where it was last saved.
    """
    store, on_evaluation = store or RunStore(), on_evaluation or (lambda history: None)
    if found := stored(experiment, store, weights_every):
        on_evaluation(found.history)
        return found
    unfinished = unfinished_path(store, experiment)
    history, meta, weights = train(experiment, unfinished, on_evaluation, weights_every)
    kept = store.save(experiment.key, experiment.config(), history, meta, weights)
    unfinished.unlink(missing_ok=True)
    return kept


def stored(experiment: Experiment, store: RunStore, weights_every: int = 0) -> Run | None:
    """The stored run of ``experiment``, if there is one that has all the weights that ``weights_every`` asks for."""
    check_whole("weights_every", weights_every)

    def is_whole(run: Run) -> bool:
        return kept_steps(run, weights_every) <= {*run.weight_steps}

    found = store.load(experiment.key)
    if found and not found.released and not is_whole(found):
        found = store.load_released(experiment.key)
    return found if found and is_whole(found) else None


def unfinished_path(store: RunStore, experiment: Experiment) -> Path:
    """Where the state of a training that has not finished is saved."""
    return store.folder / "unfinished" / f"{experiment.key}.safetensors"
