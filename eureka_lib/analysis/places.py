"""Where the tokens of a vision transformer lie: in CLS, if there is one, or in a cell of the picture."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

CLS = "CLS"
CELLS = 4  # of a picture, 2 x 2, in reading order; with CLS, if there is one, in front they are a model's places


def token_places(model: nn.Module) -> Tensor:
    """Which of the T tokens of a ViT (``models.vit.ViT``) lie in which of its P places: (T, P) of 0 and 1.

    Raises ValueError unless the patches divide into 2 x 2 cells.
    """
    rows, columns = model.grid
    if rows % 2 or columns % 2:
        raise ValueError(f"four cells need an even number of patches per side, got {rows} x {columns}")
    cells = 2 * (torch.arange(rows) // (rows // 2))[:, None] + torch.arange(columns) // (columns // 2)
    cells = cells.flatten()
    return one_hot(cells if model.cls is None else torch.cat([cells[:1], 1 + cells])).to(model.position)


def mean_by_place(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens (..., T, F) -> their means over the P places (..., P, F)."""
    return (places / places.sum(0)).T @ tokens


def attention_by_place(attention: Tensor, places: Tensor) -> Tensor:
    """Attention among tokens (..., T, T), as attention among places (..., P, P).

    Summed over the keys of a place and averaged over its queries, so that rows still sum to 1.
    """
    return mean_by_place(attention, places) @ places
