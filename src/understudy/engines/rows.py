"""The sequences that a model is generating: the rows of a decode step, their cache, their columns.

Shared by rollouts (`engines/generation.py`) and serving (`serving/batcher.py`): both admit prompts,
take one step for all live rows, and release rows that end.

Shapes: B live rows, U prompts of a prefill, T columns, D hidden size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from understudy.engines.slots import SlotCache, decode_attention
from understudy.models.cpu.llama import TRIAL, Forward, Inputs, direct_trunk, library_trunk
from understudy.models.masks import Masks
from understudy.models.policies import Policy
from understudy.models.trunk import device_of

PREFILL_TOKENS = 4096
"""Most tokens in one prefill pass, padding included."""
LEAST_TOKENS = 256
"""A pass with this many tokens takes no further prompt shorter than 3/4 of its longest."""


class LiveRows:
    """Rows 0 .. n-1 of the cache are live, in an order that changes when rows leave.

    Use it inside `slots.decoding`, whose value is `mask_by_hand`.
    """

    def __init__(
        self,
        model: Policy,
        *,
        num_slots: int,
        capacity: int,
        pad_id: int,
        mask_by_hand: bool,
    ) -> None:
        self.num_slots, self.capacity, self.pad_id = num_slots, capacity, pad_id
        self.device = device_of(model)
        self.masks = Masks(model.model, capacity, mask_by_hand)
        self.forward = self._forward(model, mask_by_hand)
        self.clear()

    def clear(self) -> None:
        """Release all rows."""
        self.cache = SlotCache(self.num_slots, self.capacity)
        self.column_B = np.zeros(0, dtype=np.int64)  # where a row's next token goes in the cache
        self.token_B = np.zeros(0, dtype=np.int64)  # its last token, not yet in the cache

    def __len__(self) -> int:
        return len(self.column_B)

    def share(self, prefix: Sequence[int]) -> None:
        """Compute, once, a prefix that all later prompts begin with; call it while no row is
        live."""
        self.prefill([prefix])
        self.cache.keep_prefix(len(prefix))

    def prefill(self, prompts: Sequence[Sequence[int]], source: list[int] | None = None) -> Tensor:
        """Last hidden state (U, D) of each prompt; prompts begin with the shared prefix. Keys and
        values go to the slots after the live rows: those of each prompt to one slot or, with
        `source`, those of prompt `source[i]` to the i-th of them.

        `enter` makes those slots live.
        """
        first = self.cache.prefix
        prompts = [prompt[first:] for prompt in prompts]
        lengths = np.array([len(prompt) for prompt in prompts])
        ids_UT = np.full((len(prompts), lengths.max()), self.pad_id, dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids_UT[row, : lengths[row]] = prompt
        rows = None if source is None else torch.tensor(source, device=self.device)
        length = ids_UT.shape[1]
        self.cache.begin_prefill(len(self), rows, first + length)
        positions_UT = torch.arange(first, first + length, device=self.device).expand(*ids_UT.shape)
        mask = self.masks.prefill(length, first)
        last_U = self.tensor(np.arange(len(prompts)) * length + lengths - 1)
        return self.forward(Inputs(self.tensor(ids_UT), positions_UT, mask, self.cache, last_U))

    def enter(self, lengths: Sequence[int], token_B: np.ndarray) -> None:
        """Make the slots just filled live, given their prompts' lengths and their first tokens."""
        self.column_B = np.concatenate([self.column_B, np.array(lengths, dtype=np.int64)])
        self.token_B = np.concatenate([self.token_B, token_B])

    def step(self) -> Tensor:
        """Feed every row its last token; the hidden states (B, D) that predict the next one."""
        columns_B = self.tensor(self.column_B)
        rows_B = torch.arange(len(self), device=self.device)
        width = self.cache.begin_decode(columns_B, rows_B, int(self.column_B.max()) + 1)
        mask = self.masks.decode(columns_B, width)
        ids_B1 = self.tensor(self.token_B).unsqueeze(1)
        hidden_BD = self.forward(Inputs(ids_B1, columns_B.unsqueeze(1), mask, self.cache))
        self.column_B = self.column_B + 1
        return hidden_BD

    def leave(self, ended_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Close the gaps: (holes, movers), where live rows `movers` from the back moved into the
        places `holes` of rows that ended.
        """
        num_live = int((~ended_B).sum())
        holes = np.flatnonzero(ended_B[:num_live])
        movers = num_live + np.flatnonzero(~ended_B[num_live:])
        if len(holes):
            length = int(self.column_B[movers].max())
            self.cache.move(self.tensor(movers), self.tensor(holes), length)
        self.column_B, self.token_B = (
            moved(array, holes, movers)[:num_live] for array in (self.column_B, self.token_B)
        )
        return holes, movers

    def tensor(self, array: np.ndarray) -> Tensor:
        """A host array as a tensor on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _forward(self, model: Policy, mask_by_hand: bool) -> Forward:
        trunk = model.trunk
        one_mask = not isinstance(self.masks.decode(torch.zeros(1, device=self.device), 1), dict)
        if mask_by_hand or not one_mask:
            return library_trunk(trunk)

        def probe() -> SlotCache:
            cache = SlotCache(*TRIAL)
            cache.begin_prefill(0, None, TRIAL[1])
            return cache

        return direct_trunk(trunk, self.capacity, decode_attention, probe, model.tried)


def moved(array: np.ndarray, holes: np.ndarray, movers: np.ndarray) -> np.ndarray:
    """The array with its entries at `movers` also at `holes`."""
    array[holes] = array[movers]
    return array
