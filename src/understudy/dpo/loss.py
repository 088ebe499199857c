"""The DPO loss (Rafailov et al. 2023, eq. 7) over rankings of K responses.

A response's implicit score is beta * log(policy / reference) of its tokens, and the loss is the
reward model's on those scores: the mean over prompts of the mean over a prompt's pairs of
-log sigmoid(better - worse). With K = 2 that is the paper's loss.

Shapes: B rows, T tokens, M response tokens, N responses of all prompts in a pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.models.batching import pad
from understudy.models.policies import Policy
from understudy.models.sharding import compute
from understudy.models.trunk import device_of
from understudy.training.pairs import make_pairs, pairwise_loss
from understudy.training.rankings import Element
from understudy.training.ranks import ALONE, Ranks

Sums = dict[str, Tensor]
"""Terms of the metrics, summed over the pairs or responses of some passes."""


def response_logprobs(model: Policy, rows: Sequence[Element], pad_id: int) -> Tensor:
    """logprob_N: of each response given its prompt, summed over its tokens, in nats."""
    device = device_of(model)
    pairs = [(row.prompt_ids, response) for row in rows for response in row.response_ids]
    ids_BT, mask_BT = pad([[*prompt, *response] for prompt, response in pairs], pad_id)
    counts_BT, _ = pad([[0] * len(prompt) + [1] * len(rest) for prompt, rest in pairs], 0)
    ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
    wanted_BT = counts_BT[:, 1:].bool().to(device)  # token t is predicted at t - 1
    row_M, column_M = wanted_BT.nonzero(as_tuple=True)
    labels_M = ids_BT[:, 1:][wanted_BT]
    logprobs_M, _ = model.logprobs_at(ids_BT, mask_BT, row_M, column_M, labels_M)
    return logprobs_M.new_zeros(len(pairs)).index_add(0, row_M, logprobs_M)


def passes_of(rows: Sequence[Element], micro_batch_tokens: int) -> list[list[int]]:
    """Indices of prompts in passes of at most so many padded tokens, the longest first; a prompt's
    responses stay together, whatever they need."""
    longest = [len(row.prompt_ids) + max(map(len, row.response_ids)) for row in rows]
    passes: list[list[int]] = []
    count = 0
    for index in sorted(range(len(rows)), key=lambda i: (-longest[i], i)):
        count += rows[index].size
        if not passes or count * longest[passes[-1][0]] > micro_batch_tokens:
            passes.append([])
            count = rows[index].size
        passes[-1].append(index)
    return passes


@torch.no_grad()
def reference_logprobs(
    model: Policy, rows: Sequence[Element], pad_id: int, micro_batch_tokens: int, ranks: Ranks
) -> list[Tensor]:
    """`response_logprobs` of each prompt's responses under a model that is not trained."""
    found = [torch.zeros(row.size, dtype=torch.float64) for row in rows]
    groups = passes_of(rows, micro_batch_tokens)
    for share in ranks.deal(len(groups)):
        some = [rows[i] for i in groups[share.number]]
        logprobs_N = compute(model.model, response_logprobs, model, some, pad_id)
        if share.counts:
            parts = logprobs_N.cpu().double().split([row.size for row in some])
            for index, part in zip(groups[share.number], parts, strict=True):
                found[index] = part
    flat = ranks.sum([float(x) for part in found for x in part])
    of_all = torch.tensor(flat, dtype=torch.float64)
    return list(of_all.split([row.size for row in rows])) if rows else []


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


def summed(
    model: Policy,
    rows: Sequence[Element],
    reference: Sequence[Tensor],
    pad_id: int,
    beta: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Sums:
    """The sums over all pairs of a batch, in fp64; where gradients are on, adds that of the batch's
    loss. Several ranks divide the passes among them."""
    groups, total_weight = passes_of(rows, micro_batch_tokens), sum(row.weight for row in rows)
    total: Sums = {}
    for share in ranks.deal(len(groups)):
        indices = groups[share.number]
        some, known = [rows[i] for i in indices], [reference[i] for i in indices]
        loss, sums = compute(model.model, dpo_loss, model, some, known, pad_id, beta, total_weight)
        if torch.is_grad_enabled():
            (loss * share.weight).backward()
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value.double() * share.weight
    return {name: ranks.sum_tensor(value) for name, value in total.items()}
