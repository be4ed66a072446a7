"""What the networks around a body of transformers' have in common: the paper's fixes by name, and their temperature.

The fixes come in through transformers' attention interface (:mod:`eureka_lib.attention.huggingface`), which is imported
when a model is built and not before, so that configurations need no transformers.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Hosted(nn.Module):
    """A network whose ``body``, which :meth:`host` makes, is a model of transformers' at random initial weights.

    The attention's scale factor is part of the state, so that a checkpoint evaluates at the temperature it was trained
    with.
    """

    def host(self, kind: Any, config: Any, attention: str) -> None:
        """Make the body, of the class ``kind`` and its ``config``, with a normaliser's name as ``attention``."""
        from eureka_lib.attention import huggingface

        if attention != "softmax":
            huggingface.register(attention)  # it may be a reader's own
        name = "scaled_softmax" if attention == "softmax" else attention
        self.body = kind.from_config(config, attn_implementation=name)
        self.set_scale_factor(1.0)

    def set_scale_factor(self, factor: float) -> None:
        """Multiply the usual scale of every attention by ``factor``, which replaces an earlier one."""
        from eureka_lib.attention import huggingface

        huggingface.set_scale_factor(self.body, factor)

    def get_extra_state(self) -> Tensor:
        """The scale factor, which transformers keeps in the body's configuration, for ``state_dict``."""
        return torch.tensor(self.body.config.attention_scale_factor, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Set the scale factor that ``get_extra_state`` gave."""
        self.set_scale_factor(state.item())
