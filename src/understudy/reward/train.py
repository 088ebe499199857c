"""Training the reward model (s3.5, C.2): rankings in, a scalar model out.

All pairs of one prompt's K responses are one element: each response goes through the model once
(and, where the architecture allows, the prompt once for all K), and the loss is the mean over the
kept pairs, then over prompts. Ties are dropped. One epoch. At the end the score is shifted so that
the demonstrations score 0 on average; the shift is stored in the model.

Departures: the paper's final reward model started from a model tuned on public data sets "for
historical reasons" (C.2); here it starts from any policy folder, usually the SFT model (s3.5).
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from understudy.models.batching import RankingBatch, derived_seed, shuffled
from understudy.models.chat import padding_id
from understudy.models.compute import checkpoint_activations, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.scalar import ScalarModel, ranking_batches, scalar_from, score_ids
from understudy.models.sharding import compute
from understudy.models.trunk import context_length
from understudy.records.io import shelve_records
from understudy.records.schema import Demonstration, Ranking
from understudy.records.shelf import parts_of
from understudy.reward.config import RewardConfig
from understudy.reward.data import Demonstrated, encode_demonstrations
from understudy.reward.evaluate import SCORED, evaluate
from understudy.reward.folds import labeler_groups
from understudy.training.optim import cosine_to
from understudy.training.pairs import make_pairs, pairwise_loss
from understudy.training.rankings import Element, Elements, read_rankings
from understudy.training.ranks import ALONE, Ranks
from understudy.training.run import Run
from understudy.training.steps import Learner, Metrics, Steps


def fit(run: Run, config: RewardConfig) -> tuple[dict[str, Any], Sequence[Element]]:
    """Train one model into an open run, save it, measure it: (results, the rankings measured on).

    Raises SystemExit(75) when told to stop.
    """
    # 1. Read the model and the rankings.
    with run.ranks.together():
        _check_ranks(config, run.ranks)
        model, tokenizer = scalar_from(config.model, config.seed, mesh=run.ranks.mesh)
        add_adapter(model.trunk, config, derived_seed(config.seed, "reward/lora"))
        place(model, config)
        if config.activation_checkpointing:
            checkpoint_activations(model)
        set_dropout(model, 0.0)
        train, valid, demonstrations = _read_data(config, tokenizer, context_length(model))
    pad_id, budget = padding_id(tokenizer), config.micro_batch_tokens
    run.claim()

    # 2. Optimiser and schedule; load the newest checkpoint.
    learner = Learner.of(model, config.lr, config.weight_decay)
    per_epoch = -(-len(train.rows) // config.batch_size)
    steps = Steps(run, learner, config.epochs * per_epoch, config.save_every)
    steps.resume()
    schedule = cosine_to(0.1)

    # 3. One optimiser step per batch of prompts.
    model.train()
    with steps.shown("Reward model"):
        while steps.left:
            started = time.monotonic()
            lr = config.lr * schedule(steps.step, steps.total)
            epoch, number = divmod(steps.step, per_epoch)
            order = shuffled(len(train.rows), config.seed, "reward/order", epoch)
            start = number * config.batch_size
            batch = [train.rows[i] for i in order[start : start + config.batch_size]]
            tie_width = config.tie_width if config.ties == "model" else 0.0
            metrics = backward_batch(
                model, batch, pad_id, budget, tie_width, config.margin, run.ranks
            )
            result = learner.step(config.max_grad_norm, lr)
            seconds = time.monotonic() - started
            metrics |= {
                "reward/lr": lr,
                "reward/grad_norm": result.grad_norm,
                "reward/skipped_steps": float(result.skipped),
                "reward/pairs_per_second": metrics["reward/pairs"] / seconds,
            }
            # 4. Log, save; the work after the last step may take longer than the steps.
            steps.done(metrics, save_last=bool(config.folds or config.ensemble > 1))

    # 5. Shift, save, measure.
    model.eval()
    _shift(model, demonstrations, pad_id, budget, run.ranks)
    model.save(run.dir / "model", tokenizer)
    held_back: Sequence[Element] = [] if valid is None else valid.rows
    results = evaluate(model, train.rows, held_back, pad_id, budget, run.ranks)
    results |= {
        "bias_shift": float(model.bias_shift),
        "num_demonstrations": len(demonstrations.rows),
        "num_dropped_demonstrations": demonstrations.num_dropped,
        "num_cut_demonstrations": demonstrations.num_cut,
        "num_rankings": len(train.rows),
        "num_pairs": sum(len(row.pairs) for row in train.rows),
        "num_dropped_long_prompts": train.num_dropped,
        "num_all_tied": train.num_all_tied,
        "num_cut_responses": train.num_cut,
    }
    return results, train.rows if valid is None else valid.rows


def _check_ranks(config: RewardConfig, ranks: Ranks) -> None:
    """ValueError for settings that several ranks do not support."""
    if ranks.world > 1 and (config.ensemble > 1 or config.folds):
        raise ValueError(
            "ensemble and folds train several models, which works in one process only; leave them "
            "out, or start this without the launcher"
        )


def backward_batch(
    model: ScalarModel,
    batch: Sequence[Element],
    pad_id: int,
    micro_batch_tokens: int,
    tie_width: float = 0.0,
    margin: float = 0.0,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Add the gradient of one batch of prompts; returns its loss and accuracy before the step.
    Several ranks divide the passes among them."""
    total_weight = sum(row.weight for row in batch)
    prompts = [row.prompt_ids for row in batch]
    responses = [row.response_ids for row in batch]
    batches = ranking_batches(model, prompts, responses, pad_id, micro_batch_tokens)
    total: dict[str, Tensor] = {}
    for share in ranks.deal(len(batches)):
        indices, inputs = batches[share.number]
        rows = [batch[i] for i in indices]
        loss, sums = compute(model, _loss, model, rows, inputs, tie_width, margin, total_weight)
        (loss * share.weight).backward()
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value.double() * share.weight
    total = {name: ranks.sum_tensor(value) for name, value in total.items()}
    num_pairs = total["pairs"].clamp(min=1)
    return {
        "reward/loss": total["loss"],
        "reward/accuracy": total["right"] / num_pairs,
        "reward/margin": total["margin"] / num_pairs,
        "reward/score": total["score"] / sum(row.size for row in batch),
        "reward/pairs": total["pairs"],
    }


def _loss(
    model: ScalarModel,
    rows: Sequence[Element],
    inputs: RankingBatch,
    tie_width: float,
    margin: float,
    total_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """A pass's share of the batch's loss, and the terms of the metrics."""
    pairs = make_pairs(
        [row.size for row in rows],
        [row.pairs for row in rows],
        [row.ties for row in rows] if tie_width > 0 else None,
        total_weight,
        [row.weight for row in rows],
        [row.margins for row in rows],
    )
    scores_N = model.ranking_scores(inputs)
    loss, sums = pairwise_loss(scores_N, pairs.to(scores_N.device), tie_width, margin)
    return loss, sums | {"loss": loss.detach(), "score": scores_N.detach().sum()}


def _read_data(
    config: RewardConfig, tokenizer: Any, context: int | None
) -> tuple[Elements, Elements | None, Demonstrated]:
    """Training and validation rankings, and the demonstrations whose mean score becomes 0."""

    def check(rankings: Sequence[Ranking]) -> None:
        if config.folds:  # too few labelers: fail now, not later
            labeler_groups(rankings, config.folds, config.seed)

    train, valid = read_rankings(
        config, tokenizer, context, keep_all_tied=config.ties == "model", check=check
    )
    demonstrations = Demonstrated()
    if config.demonstrations is not None:
        demonstrations = encode_demonstrations(
            tokenizer,
            shelve_records(config.demonstrations, Demonstration),
            max_prompt_tokens=config.max_prompt_tokens,
            max_response_tokens=config.max_response_tokens,
            context=context,
            where=str(config.demonstrations),
        )
    return train, valid, demonstrations


def _shift(
    model: ScalarModel, rows: Demonstrated, pad_id: int, batch_tokens: int, ranks: Ranks
) -> None:
    """Shift the scores so that the demonstrations' mean is 0; without demonstrations, do
    nothing."""
    if not rows.rows:
        return
    scores: list[float] = []
    for _, part in parts_of(rows.rows, SCORED):
        prompts, responses = zip(*part, strict=True)
        scores += score_ids(model, prompts, responses, pad_id, batch_tokens, ranks=ranks)
    with torch.no_grad():
        model.bias_shift -= sum(scores) / len(scores)
