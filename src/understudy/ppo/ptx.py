"""The pretraining mix of PPO-ptx (s3.5, C.4): text rows, and their gradient added to PPO's.

For each minibatch the PPO gradient comes first, then `coef` times the gradient of the mean
next-token loss over all predicted tokens of the pretraining rows, in the same buffers; one
optimiser step follows. `update.ptx_weight` turns the paper's 27.8 into `coef`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.models.batching import shuffled
from understudy.models.policies import Policy
from understudy.models.sharding import compute
from understudy.models.text import TextRows, lm_loss
from understudy.models.trunk import device_of
from understudy.training.ranks import ALONE, Ranks


@dataclass(frozen=True, slots=True)
class StepText:
    """The rows of text of an optimiser step; a rank reads only those that it computes."""

    text: TextRows
    """All rows."""
    numbers: Sequence[int]
    """Indices of the step's rows."""


def text_of_step(text: TextRows, step: int, num_rows: int, seed: int) -> StepText:
    """The rows of optimiser step `step`: in random order, each once before any repeats."""
    count = len(text)
    numbers = [
        shuffled(count, seed, "ppo/ptx", index // count)[index % count]
        for index in range(step * num_rows, (step + 1) * num_rows)
    ]
    return StepText(text, numbers)


def add_ptx_gradient(
    policy: Policy,
    rows: StepText,
    *,
    coef: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Add `coef` times the gradient of the mean loss over the rows; returns the loss."""
    count, length = len(rows.numbers), rows.text.length
    budget = ranks.budget([length] * count, micro_batch_tokens)
    size = max(1, budget // length)
    parts = [rows.numbers[start : start + size] for start in range(0, count, size)]
    dtype = torch.promote_types(next(policy.parameters()).dtype, torch.float32)
    total = torch.zeros((), dtype=dtype, device=device_of(policy))
    for share in ranks.deal(len(parts)):
        part_BT = rows.text.take(parts[share.number]).to(device_of(policy))
        part = part_BT.shape[0] / count
        loss = compute(policy.model, lm_loss, policy, part_BT) * part
        (coef * loss * share.weight).backward()
        total += loss.detach() * share.weight
    return ranks.sum_tensor(total)
