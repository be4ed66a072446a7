"""Base class of networks with a model of transformers as their body: attention by name, and its scale factor.

:mod:`eureka_lib.attention.huggingface` is imported when a model is built, so that configurations need no transformers.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Hosted(nn.Module):
    """A network with a randomly initialised model of transformers as ``body``, made by :meth:`host`.

    The attention's scale factor is part of the state: a checkpoint evaluates at the temperature it was trained with.
    """

    def host(self, kind: Any, config: Any, attention: str) -> None:
        """Make the body, an auto class ``kind`` with its ``config``; ``attention`` is a name in METHODS."""
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
