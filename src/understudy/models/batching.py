"""From lists of token ids to tensors: padding, length-sorted micro-batches, and rankings that share
a prompt.

Shapes: B rows, T tokens, N responses of all rankings in a batch, in order.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Ids = Sequence[int]

_MOST_ROWS = 512
"""Most rows in one micro-batch; without this limit, planning many short rows would be slow."""


def pad(rows: Sequence[Ids], pad_id: int, side: str = "right") -> tuple[Tensor, Tensor]:
    """(ids_BT, mask_BT) of ragged rows; mask is int64 with 1 at real tokens. `side` is "right" or
    "left"."""
    if side not in ("right", "left"):
        raise ValueError(f"padding side is {side!r}; it must be 'right' or 'left'")
    length = max((len(row) for row in rows), default=0)
    ids_BT = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask_BT = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        part = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        ids_BT[index, part] = torch.as_tensor(row, dtype=torch.long)
        mask_BT[index, part] = 1
    return ids_BT, mask_BT


def positions_of(mask_BT: Tensor) -> Tensor:
    """Position ids unaffected by padding: the exclusive cumulative sum of the mask."""
    return (mask_BT.long().cumsum(-1) - 1).clamp(min=0)


def by_token_budget(lengths: Sequence[int], budget: int, overhead: int = 96) -> list[list[int]]:
    """Indices in micro-batches of similar length, each at most `budget` padded tokens.

    A row longer than the budget is a micro-batch of its own. Rows are sorted from long to short
    (ties by index; the largest memory need comes first) and cut to minimise padded tokens plus
    `overhead` tokens per micro-batch, which stand for the fixed cost of a pass.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    # cost[k] is the least cost of the first k rows; cut[k] is where their last group starts.
    cost, cut = [0.0], [0]
    for end in range(1, len(order) + 1):
        best, best_start = float("inf"), end - 1
        for start in range(end - 1, max(-1, end - 1 - _MOST_ROWS), -1):
            # The first row of a group is its longest, hence the padded length.
            padded = lengths[order[start]] * (end - start)
            if padded > budget and start < end - 1:
                break
            if cost[start] + padded + overhead < best:
                best, best_start = cost[start] + padded + overhead, start
        cost.append(best)
        cut.append(best_start)
    groups: list[list[int]] = []
    end = len(order)
    while end > 0:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups[::-1]


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from all parts; each use of randomness names its purpose and its step."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@lru_cache(maxsize=8)
def shuffled(count: int, *parts: int | str) -> Sequence[int]:
    """A permutation of range(count) that depends only on `parts` (seed, purpose, epoch).

    It takes 4 bytes a number: 62 MB for 4 billion tokens of text in rows of 256.
    """
    generator = torch.Generator().manual_seed(derived_seed(*parts))
    dtype = torch.int32 if count < 1 << 31 else torch.int64  # both draw the same numbers
    order = torch.randperm(count, generator=generator, dtype=dtype)
    return array("i" if dtype is torch.int32 else "q", order.numpy().tobytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingBatch:
    """Responses to several prompts as model inputs, and where each response's last token is."""

    input_ids_BT: Tensor
    """Rows of tokens: a prompt followed by all its responses (shared prefix), or by one of them."""
    attention_mask: Tensor
    """(B, T) of 1s and 0s, or (B, 1, T, T) additive with very negative values where a token may not
    attend."""
    position_ids_BT: Tensor
    """Positions; with a shared prefix they start again after the prompt for each response."""
    row_N: Tensor
    """Row of each response."""
    column_N: Tensor
    """Column of each response's last token, where its score is read."""

    def to(self, device: torch.device) -> "RankingBatch":
        """The same batch on another device."""
        return RankingBatch(
            **{name: getattr(self, name).to(device) for name in RankingBatch.__slots__}
        )


def ranking_length(prompt: Ids, responses: Sequence[Ids], shared: bool) -> int:
    """Tokens that one ranking costs: the prompt once when it is shared, else once per response."""
    num_prompts = 1 if shared else len(responses)
    return len(prompt) * num_prompts + sum(len(response) for response in responses)


def ranking_batch(
    prompts: Sequence[Ids],
    responses: Sequence[Sequence[Ids]],
    pad_id: int,
    *,
    shared: bool,
    dtype: torch.dtype = torch.float32,
) -> RankingBatch:
    """A batch of rankings: one row per prompt with all its responses (`shared`), or one row per
    response.

    In a shared row a response's tokens see the prompt and the earlier tokens of the same response,
    never another response, and their positions follow the prompt's: the model computes the same
    hidden states as in separate rows, and the prompt's only once.
    """
    if not shared:
        rows = [
            [*prompt, *response]
            for prompt, own in zip(prompts, responses, strict=True)
            for response in own
        ]
        ids_BT, mask_BT = pad(rows, pad_id)
        return RankingBatch(
            input_ids_BT=ids_BT,
            attention_mask=mask_BT,
            position_ids_BT=positions_of(mask_BT),
            row_N=torch.arange(len(rows)),
            column_N=mask_BT.sum(-1) - 1,
        )
    return _shared_batch(prompts, responses, pad_id, dtype)


def _shared_batch(
    prompts: Sequence[Ids],
    responses: Sequence[Sequence[Ids]],
    pad_id: int,
    dtype: torch.dtype,
) -> RankingBatch:
    rows: list[list[int]] = []
    owners: list[list[int]] = []  # 0 for the prompt, k for the k-th response
    positions: list[list[int]] = []
    row_of: list[int] = []
    column_of: list[int] = []
    for index, (prompt, own) in enumerate(zip(prompts, responses, strict=True)):
        row, owner, position = [*prompt], [0] * len(prompt), [*range(len(prompt))]
        for number, response in enumerate(own, start=1):
            row += response
            owner += [number] * len(response)
            position += range(len(prompt), len(prompt) + len(response))
            row_of.append(index)
            column_of.append(len(row) - 1)
        rows.append(row)
        owners.append(owner)
        positions.append(position)
    ids_BT, _ = pad(rows, pad_id)
    owner_BT, _ = pad(owners, -1)
    position_BT, _ = pad(positions, 0)
    return RankingBatch(
        input_ids_BT=ids_BT,
        attention_mask=tree_mask(owner_BT, dtype),
        position_ids_BT=position_BT,
        row_N=torch.tensor(row_of),
        column_N=torch.tensor(column_of),
    )


def tree_mask(owner_BT: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, 1, T, T) additive mask: a token sees earlier tokens of owner 0 (the prompt) and of its
    own owner."""
    length = owner_BT.shape[1]
    query_BT1, key_B1T = owner_BT.unsqueeze(2), owner_BT.unsqueeze(1)
    earlier_TT = torch.ones(length, length, dtype=torch.bool, device=owner_BT.device).tril()
    # Padding (owner -1) sees earlier padding: some kernels give NaN for a row that sees nothing.
    visible_BTT = ((key_B1T == 0) | (key_B1T == query_BT1)) & earlier_TT
    hidden = torch.finfo(dtype).min
    mask_BTT = torch.zeros(visible_BTT.shape, dtype=dtype, device=owner_BT.device)
    return mask_BTT.masked_fill_(~visible_BTT, hidden).unsqueeze(1)
