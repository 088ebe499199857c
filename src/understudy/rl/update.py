"""Optimiser steps of the policy on an iteration's episodes.

Shapes: N response tokens of a pass.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from understudy.models.batching import shuffled
from understudy.models.policies import Policy
from understudy.models.sharding import within
from understudy.rl.episodes import Episodes
from understudy.rl.models import Models
from understudy.rl.passes import Pass
from understudy.rl.settings import RolloutSettings
from understudy.training.checkpoint import crash_point
from understudy.training.optim import constant_with_warmup
from understudy.training.ranks import ALONE, Ranks
from understudy.training.steps import Learner, Metrics

Loss = Callable[[Pass, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""From a pass and its new log-probs (N,) to its shares of the minibatch's loss and metrics."""


def policy_gradient(
    policy: Policy,
    episodes: Episodes,
    passes: Sequence[Pass],
    loss_of: Loss,
    *,
    num_tokens: int,
    temperature: float,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Add the gradient of a loss over a minibatch of `num_tokens` response tokens; returns its
    metrics, summed in fp64."""
    sums: dict[str, Tensor] = {}
    logprobs_at = within(policy.model, policy.logprobs_at)
    ratio_max, ratio_error = (torch.zeros((), device=episodes.device) for _ in range(2))
    for share in ranks.deal(len(passes)):
        batch = passes[share.number]
        new_logprobs_N, entropy_N = logprobs_at(*batch.where, batch.labels_N, temperature)
        loss, metrics = loss_of(batch, new_logprobs_N)
        (loss * share.weight).backward()
        entropy = entropy_N.detach().sum() / num_tokens
        add_to(sums, metrics | {"entropy": entropy}, share.weight)
        old_logprobs_N = episodes.take(episodes.old_logprobs_BR, batch)
        ratio_N = (new_logprobs_N.detach() - old_logprobs_N).exp()
        ratio_max = torch.fmax(ratio_max, ratio_N.max())
        ratio_error = torch.fmax(ratio_error, (ratio_N - 1).abs().max())
    return {
        **{name: ranks.sum_tensor(value) for name, value in sums.items()},
        "ratio_max": ranks.max_tensor(ratio_max),
        "first_ratio_error": ranks.max_tensor(ratio_error),
    }


def add_to(sums: dict[str, Tensor], metrics: dict[str, Tensor], weight: float) -> None:
    """Add a pass's share of the metrics."""
    for name, value in metrics.items():
        sums[name] = sums.get(name, 0.0) + value.double() * weight


def minibatches(
    config: RolloutSettings, stage: str, iteration: int, rows: Sequence[int]
) -> list[list[int]]:
    """The episodes of each optimiser step, in about equal numbers; each inner epoch has its own
    order."""
    number, found = config.num_minibatches, []
    for epoch in range(config.inner_epochs):
        order = shuffled(len(rows), config.seed, f"{stage}/minibatch", iteration, epoch)
        ends = [len(rows) * i // number for i in range(number + 1)]
        found += [[rows[i] for i in order[a:b]] for a, b in pairwise(ends)]
    return found


def update_policy(
    config: RolloutSettings,
    models: Models,
    learner: Learner[Policy],
    episodes: Episodes,
    loss_for: Callable[[Sequence[int]], Loss],
    iteration: int,
    rows: Sequence[int] | None = None,
) -> Metrics:
    """One optimiser step per minibatch of the episodes `rows`, by default all of them.

    `loss_for` gives the loss of a minibatch, from its episodes.
    """
    models.offload.only("update")
    lr = config.lr * constant_with_warmup(config.warmup_iterations)(iteration)
    every = range(len(episodes.response_ids)) if rows is None else rows
    lengths, steps = episodes.lengths(), []
    for chosen in minibatches(config, models.stage, iteration, every):
        budget = models.ranks.budget([lengths[i] for i in chosen], config.micro_batch_tokens)
        metrics = policy_gradient(
            models.policy,
            episodes,
            episodes.passes(chosen, budget),
            loss_for(chosen),
            num_tokens=episodes.num_tokens(chosen),
            temperature=config.temperature,
            ranks=models.ranks,
        )
        result = learner.step(config.max_grad_norm, lr)
        metrics |= {"grad_norm": result.grad_norm, "skipped_steps": float(result.skipped)}
        steps.append(metrics)
        crash_point(f"{models.stage}/minibatch")
    return summary(steps) | {"lr": lr}


def summary(steps: Sequence[Metrics]) -> Metrics:
    """An iteration's metrics from those of its steps: means, except for those listed below."""
    columns: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, value in step.items():
            columns[name].append(float(value))
    means: Metrics = {name: sum(values) / len(values) for name, values in columns.items()}
    return means | {
        "ratio_max": max(columns["ratio_max"]),
        "first_ratio_error": columns["first_ratio_error"][0],
        "skipped_steps": sum(columns["skipped_steps"]),
    }
