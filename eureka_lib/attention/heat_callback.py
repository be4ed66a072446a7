"""Heat Treatment in transformers' Trainer: a callback that heats the attention of a Hugging Face model as it trains.

    model = AutoModel...from_config(config, attn_implementation="scaled_softmax")
    Trainer(model, ..., callbacks=[HeatTreatmentCallback()])

Attention starts ``scale_start`` times as sharp as the model would have it and ends as the model would have it; the
schedules are those of :mod:`eureka_lib.training.schedules`. Every checkpoint keeps the factor of its own step, one of
an adapter (LoRA) as well; which models can be heated is in :mod:`eureka_lib.attention.huggingface`, too.
"""

from eureka_lib.attention.heat import SCALE_SCHEDULES, heat
from eureka_lib.attention.huggingface import set_scale_factor, transformers  # which says what to do where it is missing
from eureka_lib.validation import check_choice, check_real


class HeatTreatmentCallback(transformers.TrainerCallback):
    """Sets the attention's scale factor before each update, from ``scale_start`` down to 1, as the paper does.

    The paper's values are the defaults; ``schedule`` is a name in SCALE_SCHEDULES. A training that is resumed, or that
    loads its best checkpoint at the end, has the factor of the step it came from. Raises ValueError for an unknown
    schedule or a start below 1e-6, and, when training begins, for a model whose attention has no factor to set.
    """

    def __init__(self, scale_start: float = 24.0, schedule: str = "half_cosine"):
        self.scale_start = check_real("scale_start", scale_start, 1e-6)
        self.schedule = check_choice("schedule", schedule, SCALE_SCHEDULES)

    def on_step_begin(self, args, state, control, model, **others) -> None:
        """The factor of the update that comes next; ``state.global_step`` have been made."""
        self._set(model, state.global_step, state.max_steps)

    def on_train_end(self, args, state, control, model, **others) -> None:
        """The factor of the best checkpoint, if its weights have just been loaded: the Trainer loads nothing else."""
        if args.load_best_model_at_end and state.best_global_step:
            self._set(model, state.best_global_step - 1, state.max_steps)

    def _set(self, model, step: int, steps: int) -> None:
        set_scale_factor(model, heat(step, steps, self.scale_start, self.schedule))
