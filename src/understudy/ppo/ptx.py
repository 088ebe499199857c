"""The pretraining mix of PPO-ptx (s3.5, C.4): text rows, and their gradient added to PPO's.

For each minibatch the PPO gradient comes first, then `coef` times the gradient of the mean
next-token loss over all predicted tokens of the pretraining rows, in the same buffers; one
optimiser step follows. `update.ptx_weight` turns the paper's 27.8 into `coef`.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.batching import shuffled
from understudy.models.policies import Policy
from understudy.models.sharding import compute
from understudy.models.text import lm_loss, pack_rows, read_text
from understudy.models.trunk import context_length, device_of
from understudy.training.ranks import ALONE, Ranks


def read_rows(path: Path, tokenizer: Tokenizer, model: Policy, length: int) -> Tensor:
    """(N, T) ids of the text, packed; a row is no longer than the model's context."""
    length = min(length, context_length(model) or length)
    ids_NT = pack_rows(tokenizer, read_text(path), length)
    if ids_NT.shape[1] < 2:
        raise ValueError(f"{path} has fewer than 2 tokens; there is nothing to predict")
    return ids_NT


def rows_of_step(ids_NT: Tensor, step: int, num_rows: int, seed: int) -> Tensor:
    """The rows of optimiser step `step`: in random order, each once before any repeats."""
    count = ids_NT.shape[0]
    chosen = [
        shuffled(count, seed, "ppo/ptx", index // count)[index % count]
        for index in range(step * num_rows, (step + 1) * num_rows)
    ]
    return ids_NT[torch.tensor(chosen)]


def add_ptx_gradient(
    policy: Policy,
    ids_NT: Tensor,
    *,
    coef: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Add `coef` times the gradient of the mean loss over the rows; returns the loss."""
    count, length = ids_NT.shape
    budget = ranks.budget([length] * count, micro_batch_tokens)
    parts = ids_NT.to(device_of(policy)).split(max(1, budget // length))
    dtype = torch.promote_types(next(policy.parameters()).dtype, torch.float32)
    total = torch.zeros((), dtype=dtype, device=device_of(policy))
    for share in ranks.deal(len(parts)):
        part_BT = parts[share.number]
        part = part_BT.shape[0] / count
        loss = compute(policy.model, lm_loss, policy, part_BT) * part
        (coef * loss * share.weight).backward()
        total += loss.detach() * share.weight
    return ranks.sum_tensor(total)
