"""The common part of policies and scalar models: a trunk and its properties.

Shapes: B sequences, T tokens, D hidden size, M positions that are read. Masks are 1 at real tokens.
"""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from understudy.models.batching import by_token_budget, positions_of
from understudy.models.cpu.direct import DirectPass, Rows, direct_pass
from understudy.models.sharding import is_sharded

PASS_TOKENS = {"cpu": 96, "cuda": 4096}
"""Padding tokens worth one more pass: the fixed cost of a pass in tokens, by device."""


class TrunkModel(nn.Module):
    """A model with a trunk of `transformers` and a head that we apply ourselves."""

    trunk: PreTrainedModel
    """The decoder without a head."""

    def __init__(self) -> None:
        super().__init__()
        self.bf16 = False
        """Whether the trunk's products are in bf16 (`compute.place`)."""
        self.tried: dict[str, bool] = {}
        """Results of trial passes on the trunk, by the name of the trial."""
        self.dropout: Sequence[RemovableHandle] = ()
        """The dropout hooks (`dropout.set_dropout`)."""

    @property
    def config(self) -> Any:
        """The library's config."""
        return self.trunk.config

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the trunk runs."""
        if not self.bf16:
            return nullcontext()
        # A sharded layer's gathered weights are released after it; autocast must not cache copies.
        return torch.autocast(
            next(self.parameters()).device.type,
            dtype=torch.bfloat16,
            cache_enabled=not is_sharded(self),
        )

    def hidden(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        position_ids_BT: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, D) of the trunk, after the final norm.

        The mask is (B, T) of 1s and 0s with padding on either side, or (B, 1, T, T) additive.
        Padding never shifts positions. Values at padded positions are meaningless.
        """
        inputs: dict[str, Any] = {"input_ids": input_ids_BT, "use_cache": False}
        right = attention_mask_BT.ndim == 2 and position_ids_BT is None
        if right and _padded_right(attention_mask_BT):
            # A causal model's real tokens never see padding on their right, so the plain causal
            # kernel needs no mask.
            inputs["attention_mask"] = None
        else:
            inputs["attention_mask"] = attention_mask_BT
            if _takes(self.trunk, "position_ids"):
                inputs["position_ids"] = (
                    positions_of(attention_mask_BT) if position_ids_BT is None else position_ids_BT
                )
        with self.autocast():
            hidden_BTD: Tensor = self.trunk(**inputs).last_hidden_state
        return hidden_BTD.bfloat16() if self.bf16 else hidden_BTD

    def hidden_at(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        row_M: Tensor,
        column_M: Tensor,
        position_ids_BT: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (M, D) at the positions that are read: `hidden` at [row, column], by a
        faster path if there is one. An additive mask must be causal too.
        """
        width, additive = input_ids_BT.shape[1], attention_mask_BT.ndim == 4
        causal = not additive and position_ids_BT is None and _padded_right(attention_mask_BT)
        direct = self._direct_pass(width) if causal or additive else None
        if direct is not None:
            read_M = row_M * width + column_M
            if additive:
                assert position_ids_BT is not None, "an additive mask needs positions"
                # Skip what follows a row's last read token, such as padding.
                last_B = column_M.new_zeros(len(input_ids_BT))
                last_B = last_B.scatter_reduce(0, row_M, column_M, "amax")
                rows = Rows.masked(position_ids_BT, (last_B + 1).tolist())
                return direct(rows, input_ids_BT, read_M, attention_mask_BT)
            return direct(Rows.padded(attention_mask_BT, input_ids_BT), input_ids_BT, read_M)
        if not causal or not self.takes_ragged_rows():
            hidden_BTD = self.hidden(input_ids_BT, attention_mask_BT, position_ids_BT)
            return hidden_BTD[row_M, column_M]
        return self._hidden_in_groups(input_ids_BT, attention_mask_BT, row_M, column_M)

    def _direct_pass(self, width: int) -> DirectPass | None:
        return None if self.bf16 else direct_pass(self.trunk, width, self.tried)

    def takes_ragged_rows(self) -> bool:
        """Whether `hidden_at` handles rows of different lengths in one pass.

        False if all ranks must run equal numbers of passes, or if a pass's dropout must not depend
        on the split: rows of similar length are then separate passes (`pass_overhead`).
        """
        drops = self.training and bool(self.dropout)
        return not drops and not is_sharded(self)

    def pass_overhead(self, tokens: int, masked: bool = False) -> int:
        """The cost of one more pass of at most `tokens`, in tokens of padding, for
        `by_token_budget`. `masked` asks for a pass with an additive mask."""
        ragged = self._direct_pass(tokens) is not None if masked else self.takes_ragged_rows()
        if ragged:
            return tokens
        return PASS_TOKENS.get(device_of(self).type, PASS_TOKENS["cuda"])

    def _hidden_in_groups(
        self, ids_BT: Tensor, mask_BT: Tensor, row_M: Tensor, column_M: Tensor
    ) -> Tensor:
        """`hidden_at` in several passes over rows of similar length, where that costs less than
        one."""
        lengths = mask_BT.sum(-1).tolist()
        overhead = PASS_TOKENS.get(ids_BT.device.type, PASS_TOKENS["cuda"])
        groups = by_token_budget(lengths, mask_BT.numel(), overhead)
        if len(groups) == 1:
            return self.hidden(ids_BT, mask_BT)[row_M, column_M]
        found, where = [], []
        for group in groups:
            rows = torch.tensor(group, device=ids_BT.device)
            width = lengths[group[0]]
            hidden_BTD = self.hidden(ids_BT[rows, :width], mask_BT[rows, :width])
            place_B = torch.full((len(lengths),), -1, device=ids_BT.device)
            place_B[rows] = torch.arange(len(group), device=rows.device)
            mine = (place_B[row_M] >= 0).nonzero().squeeze(-1)
            found.append(hidden_BTD[place_B[row_M[mine]], column_M[mine]])
            where.append(mine)
        return torch.cat(found)[torch.cat(where).argsort()]


def context_length(model: TrunkModel) -> int | None:
    """The most tokens that a prompt and its response may have together, or None without a limit."""
    length = getattr(model.config, "max_position_embeddings", None)
    return int(length) if length else None


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device


def _padded_right(mask_BT: Tensor) -> bool:
    return bool((mask_BT[:, 1:] <= mask_BT[:, :-1]).all())


def _takes(module: nn.Module, name: str) -> bool:
    return name in inspect.signature(module.forward).parameters
