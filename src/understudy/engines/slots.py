"""The key-value cache of the rollout engine: one slot per running sequence, the live ones in front.

A slot holds a sequence from column 0, so prompts of any length run side by side. The live rows are
always rows 0 .. n-1, so a decode step reads a view, never a copy. When a sequence ends, a live row
from the back moves into its place.

Reading the cache dominates a step, and a processor reads contiguous memory several times faster
than the same bytes with gaps (256 rows of 56 columns on 1 core: 21 GB/s, but 6 GB/s if each row has
room for 64). So the cache is only as wide as its longest row.

Shapes: B rows of a forward pass, S slots, H key-value heads, G query heads per key-value head,
W columns, D head size.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from understudy.models.policies import Policy

_DECODE = "understudy_decode"
WIDTH_STEP = 16
"""Columns by which the cache grows; a smaller step means more copies, a larger one more unused
columns read."""


class SlotCache(Cache):
    """Keys and values (S, H, W, D) of every layer, in the cache interface of transformers.

    The width W follows the longest live row in steps of `WIDTH_STEP`; each change costs a copy.
    """

    def __init__(self, num_slots: int, capacity: int) -> None:
        super().__init__(layers=[])
        self.num_slots, self.capacity, self.width = num_slots, capacity, 0
        self._keys: list[_Store] = []
        self._values: list[_Store] = []
        self._spare: dict[tuple[int, torch.dtype], Tensor] = {}
        self._source: Tensor | None = None
        self._start = 0
        self._columns: Tensor | None = None
        self._rows: Tensor | None = None
        self.prefix = 0
        """Columns that every prompt shares (`keep_prefix`); a prefill computes those after it."""
        self._shared: list[tuple[Tensor, Tensor]] = []

    def keep_prefix(self, length: int) -> None:
        """Keep the first columns of slot 0 as the beginning of every later prefill."""
        self._shared = [
            (
                keys.view(self.width)[:1, :, :length].clone(),
                values.view(self.width)[:1, :, :length].clone(),
            )
            for keys, values in zip(self._keys, self._values, strict=True)
        ]
        self.prefix = length

    def begin_prefill(self, start: int, source_rows: Tensor | None, length: int) -> None:
        """Prepare for a forward pass that fills slots from `start` on with its rows, or with
        `source_rows` of them in that order; rows have `length` columns, the prefix included.
        """
        self._start, self._source, self._columns = start, source_rows, None
        self._fit(start, max(length, self.width) if start else length)

    def begin_decode(self, columns_B: Tensor, rows_B: Tensor, length: int) -> int:
        """Prepare for a forward pass that writes one column per live row; returns how many columns
        it reads, at least `length`.
        """
        self._columns, self._rows = columns_B, rows_B
        self._fit(len(rows_B), length)
        return self.width

    def move(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy rows `source` over rows `target`."""
        for store in (*self._keys, *self._values):
            tensor = store.view(self.width)
            tensor[target, :, :length] = tensor[source, :, :length]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values; return everything that its queries may attend to."""
        if layer_idx == len(self._keys):
            for stores, new in ((self._keys, key_states), (self._values, value_states)):
                stores.append(_Store(new, self.num_slots, self.capacity))
        keys = self._keys[layer_idx].view(self.width)
        values = self._values[layer_idx].view(self.width)
        if self._columns is None:
            if self.prefix:
                key_states, value_states = (
                    torch.cat([shared.expand(len(new), -1, -1, -1), new], 2)
                    for shared, new in zip(
                        self._shared[layer_idx], (key_states, value_states), strict=True
                    )
                )
            self._fill(keys, key_states)
            self._fill(values, value_states)
            return key_states, value_states
        num_live = key_states.shape[0]
        keys[self._rows, :, self._columns] = key_states[:, :, 0]
        values[self._rows, :, self._columns] = value_states[:, :, 0]
        return keys[:num_live], values[:num_live]

    def _fill(self, tensor: Tensor, new: Tensor) -> None:
        new = new if self._source is None else new[self._source]
        tensor[self._start : self._start + new.shape[0], :, : new.shape[2]] = new

    def _fit(self, num_live: int, length: int) -> None:
        """Change the width if necessary, moving the live rows."""
        if length <= self.width < length + 2 * WIDTH_STEP:
            return
        old, self.width = self.width, min(length + WIDTH_STEP, self.capacity)
        if num_live == 0:
            return
        for store in (*self._keys, *self._values):
            key = (store.flat.numel(), store.flat.dtype)
            spare = self._spare.pop(key, None)
            spare = _zeros(store.flat, store.flat.shape) if spare is None else spare
            self._spare[key] = store.relay(spare, num_live, old, self.width)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Always 0, since callers give positions and masks."""
        return 0


class _Store:
    """The memory of one layer's keys or values, seen as (S, H, W, D) of any width."""

    def __init__(self, like: Tensor, num_slots: int, capacity: int) -> None:
        _, self.num_heads, _, self.head_size = like.shape
        self.num_slots = num_slots
        size = num_slots * self.num_heads * capacity * self.head_size
        self.flat = _zeros(like, torch.Size([size]))

    def view(self, width: int) -> Tensor:
        """(S, H, W, D)."""
        shape = (self.num_slots, self.num_heads, width, self.head_size)
        return self.flat[: math.prod(shape)].view(shape)

    def relay(self, spare: Tensor, num_rows: int, old: int, new: int) -> Tensor:
        """Copy the first rows to other memory with a new width; returns the old memory."""
        common = min(old, new)
        source = self.view(old)[:num_rows, :, :common]
        self.flat, spare = spare, self.flat
        self.view(new)[:num_rows, :, :common] = source
        return spare


def _zeros(like: Tensor, shape: torch.Size) -> Tensor:
    """Memory of zeros: in uninitialised memory even a masked NaN would reach the sum."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.zeros(shape, np.float32))  # zeroed by the system on first use
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def decode_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention for one query per row as two batched products, and the usual kernel for more.

    With one query the fused CPU kernel spends most of its time on set-up: the products are 2-3
    times faster.
    """
    if query.shape[2] > 1 or attention_mask is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    batch, num_heads, _, size = query.shape
    scaling = size**-0.5 if scaling is None else scaling
    query_BHGD = (query * scaling).view(batch, key.shape[1], -1, size)
    weights = torch.matmul(query_BHGD, key.transpose(2, 3)).add_(attention_mask)
    output = torch.matmul(torch.softmax(weights, dim=-1), value)
    return output.reshape(batch, 1, num_heads, value.shape[3]), None


@contextmanager
def decoding(model: Policy) -> Iterator[bool]:
    """Eval mode, no gradients, and `decode_attention` where the model uses the standard kernel.

    Yields whether causal attention needs explicit masks, since the model keeps its own kernel.
    """
    ALL_ATTENTION_FUNCTIONS.register(_DECODE, decode_attention)
    config: Any = model.config
    standard = config._attn_implementation == "sdpa" and query_device(model) == "cpu"
    training = model.training
    model.eval()
    try:
        if standard:
            config._attn_implementation = _DECODE
        with torch.inference_mode(), model.autocast():
            yield not standard
    finally:
        if standard:
            config._attn_implementation = "sdpa"
        model.train(training)


def query_device(model: Policy) -> str:
    """The type of device that the model is on."""
    return next(model.parameters()).device.type
