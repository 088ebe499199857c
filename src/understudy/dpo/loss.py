"""The DPO loss (Rafailov et al. 2023, eq. 7) over rankings of K responses.

A response's implicit score is beta * log(policy / reference) of its tokens, and the loss is the
reward model's on those scores: the mean over prompts of the mean over a prompt's pairs of
-log sigmoid(better - worse). With K = 2 that is the paper's loss.

Shapes: N responses of all prompts in a pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.models.policies import Policy
from understudy.models.trunk import device_of
from understudy.training.pairs import make_pairs, pairwise_loss
from understudy.training.rankings import Element
from understudy.training.ranks import ALONE, Ranks
from understudy.training.responses import Sums, response_logprobs, summed


def dpo_loss(
    model: Policy,
    rows: Sequence[Element],
    reference: Sequence[Tensor],
    pad_id: int,
    beta: float,
    total_weight: float,
) -> tuple[Tensor, Sums]:
    """A pass's share of the batch's loss, and the terms of the metrics."""
    reference_N = torch.cat(list(reference)).to(device_of(model))
    scores_N = beta * (response_logprobs(model, rows, pad_id).double() - reference_N)
    weights = [row.weight for row in rows]
    sizes, pairs = [row.size for row in rows], [row.pairs for row in rows]
    made = make_pairs(sizes, pairs, None, total_weight, weights).to(scores_N.device)
    loss, sums = pairwise_loss(scores_N, made)
    with torch.no_grad():
        sums |= {"loss": loss.detach(), "better": scores_N[made.better_P].sum()}
    return loss, sums


def batch_sums(
    model: Policy,
    rows: Sequence[Element],
    reference: Sequence[Tensor],
    pad_id: int,
    beta: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Sums:
    """The sums over all pairs of a batch. If gradients are enabled, also adds the gradient of the
    batch's loss."""
    total_weight = sum(row.weight for row in rows)

    def of_pass(indices: list[int]) -> tuple[Tensor, Sums]:
        some, known = [rows[i] for i in indices], [reference[i] for i in indices]
        return dpo_loss(model, some, known, pad_id, beta, total_weight)

    return summed(model, rows, of_pass, micro_batch_tokens, ranks)
