"""Episodes as model inputs: padded micro-batches, and where each response token is predicted.

Response token t of an episode is predicted at the column before it, where the critic has also seen
everything before the token. Log-probs and values are read there; the head never runs at a prompt's
other columns.

Shapes: B rows of a pass, T columns, N response tokens of a pass in row-major order, R response
tokens of the longest response, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.models.batching import by_token_budget, pad

Ids = Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One micro-batch, padded on the right."""

    rows_B: Tensor
    """Indices of the pass's episodes."""
    ids_BT: Tensor
    """Prompt and response."""
    mask_BT: Tensor
    """1 at real tokens."""
    row_N: Tensor
    """Row of each response token."""
    column_N: Tensor
    """Column at which it is predicted: the one before its own."""
    labels_N: Tensor
    """The response tokens."""
    last_B: Tensor
    """Column of each row's last token, where the reward model reads the score."""

    @property
    def where(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, mask, and the row and column at which each response token is predicted."""
        return self.ids_BT, self.mask_BT, self.row_N, self.column_N


def make_passes(
    prompt_ids: Sequence[Ids],
    response_ids: Sequence[Ids],
    rows: Sequence[int],
    *,
    pad_id: int,
    budget: int,
    device: torch.device,
) -> list[Pass]:
    """The episodes `rows` as micro-batches of at most `budget` padded tokens."""
    lengths = [len(prompt_ids[i]) + len(response_ids[i]) for i in rows]
    groups = by_token_budget(lengths, budget, overhead=budget)
    return [
        _make_pass(prompt_ids, response_ids, [rows[i] for i in group], pad_id, device)
        for group in groups
    ]


def _make_pass(
    prompt_ids: Sequence[Ids],
    response_ids: Sequence[Ids],
    rows: list[int],
    pad_id: int,
    device: torch.device,
) -> Pass:
    ids_BT, mask_BT = pad([[*prompt_ids[i], *response_ids[i]] for i in rows], pad_id)
    starts_B = torch.tensor([len(prompt_ids[i]) for i in rows])
    ends_B = mask_BT.sum(dim=1)
    columns_T = torch.arange(ids_BT.shape[1])
    is_response_BT = (columns_T >= starts_B[:, None]) & (columns_T < ends_B[:, None])
    row_N, label_column_N = is_response_BT.nonzero(as_tuple=True)
    tensors = dict(
        rows_B=torch.tensor(rows),
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        row_N=row_N,
        column_N=label_column_N - 1,
        labels_N=ids_BT[row_N, label_column_N],
        last_B=ends_B - 1,
    )
    return Pass(**{name: tensor.to(device) for name, tensor in tensors.items()})
