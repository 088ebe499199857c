"""Additive attention masks of the rollout engine, with sliding windows where the model has them.

Shapes: B rows, T columns of the cache. A mask is (B or 1, 1, queries, T): 0 where a query may look.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

Mask = Tensor | dict[str, Tensor] | None
"""One mask for all layers, one per layer type, or None for plain causal attention."""


class Masks:
    """Makes the masks of prefill and decode passes for one model.

    `longest` is the length of the longest sequence: a window at least that long has no effect.
    `by_hand` means that the model's attention does not turn None into a causal mask.
    """

    def __init__(self, model: PreTrainedModel, longest: int, by_hand: bool) -> None:
        config: Any = model.config
        self.window = sliding_window(config)
        if self.window is not None and self.window >= longest:
            self.window = None
        self.by_hand, self.dtype = by_hand, model.dtype
        self.device = next(model.parameters()).device
        self.layer_types = sorted(set(getattr(config, "layer_types", None) or ()))

    def prefill(self, length: int, first: int = 0) -> Mask:
        """Causal mask of rows of `length` tokens that start at column `first`."""
        if self.window is None and not self.by_hand and not first:
            return None
        queries_1Q = torch.arange(first, first + length, device=self.device).unsqueeze(0)
        return self._build(queries_1Q, first + length)

    def decode(self, columns_B: Tensor, length: int) -> Mask:
        """Mask of one query per row, at its own column."""
        return self._build(columns_B.unsqueeze(1), length)

    def _build(self, queries_BQ: Tensor, length: int) -> Mask:
        columns_T = torch.arange(length, device=self.device)
        hidden_BQT = columns_T > queries_BQ.unsqueeze(-1)
        if self.window is None:
            return self._additive(hidden_BQT)
        windowed_BQT = hidden_BQT | (columns_T <= queries_BQ.unsqueeze(-1) - self.window)
        if not self.layer_types:
            return self._additive(windowed_BQT)
        return {
            kind: self._additive(windowed_BQT if kind == "sliding_attention" else hidden_BQT)
            for kind in self.layer_types
        }

    def _additive(self, hidden_BQT: Tensor) -> Tensor:
        mask = torch.zeros(hidden_BQT.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(hidden_BQT, torch.finfo(self.dtype).min).unsqueeze(1)


def sliding_window(config: Any) -> int | None:
    """The window of a model's attention in tokens, or None if unlimited."""
    window = getattr(config, "sliding_window", None)
    return int(window) if window and getattr(config, "use_sliding_window", True) else None
