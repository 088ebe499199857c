"""Training the reward model (s3.5, C.2): rankings in, a scalar model out.

All pairs of one prompt's K responses are one element: each response goes through the model once
(and, where the architecture allows, the prompt once for all K), and the loss is the mean over the
kept pairs, then over prompts. Ties are dropped. One epoch. At the end the score is shifted so that
the demonstrations score 0 on average; the shift is stored in the model.

Departures: the paper's final reward model started from a model tuned on public data sets "for
historical reasons" (C.2); here it starts from any policy folder, usually the SFT model (s3.5).
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.models.batching import derived_seed, shuffled
from understudy.models.chat import padding_id
from understudy.models.compute import checkpoint_activations, place
from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter, check_lora, load_weights, weights_of
from understudy.models.policies import context_length, device_of, load_policy, trunk_of
from understudy.models.scalar import ScalarModel, ranking_batches, score_ids
from understudy.records.io import read_records
from understudy.records.overlap import note_overlap
from understudy.records.schema import Demonstration, Ranking
from understudy.reward.data import (
    Demonstrated,
    Element,
    Elements,
    encode_demonstrations,
    encode_rankings,
    read_labeler_weights,
    refuse_held_out,
)
from understudy.reward.ensemble import measure_ensemble
from understudy.reward.evaluate import evaluate
from understudy.reward.folds import cross_validate, labeler_groups
from understudy.reward.loss import make_pairs, pairwise_loss
from understudy.training.optim import SkipGuard, clip_and_step, cosine_to, make_optimizer, set_lr
from understudy.training.run import Run, Saved, prepare_run
from understudy.training.stop import stop_on_signal


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """Reward model."""

    model: str
    """Folder or hub name of the causal language model to start from, usually the SFT model."""
    data: Path
    """Rankings by training labelers, .jsonl or .parquet."""
    out: Path
    """Run folder; the model is at out/model."""
    valid_data: Path | None = None
    """Rankings to measure accuracy on, by training and held-out labelers."""
    demonstrations: Path | None = None
    """Demonstrations that shall score 0 on average (s3.5); without them the score is not
    shifted."""
    epochs: int = 1
    """Passes over the rankings (C.2: more than one overfits)."""
    lr: float = 9e-6
    """Peak learning rate, cosine to a tenth (C.2)."""
    batch_size: int = 64
    """Prompts per step, each with all its pairs (C.2)."""
    ties: str = "drop"
    """"drop" leaves tied pairs out (s3.5); "model" learns that they are close (Rao-Kupper)."""
    tie_width: float = 0.5
    """Half-width, in units of score, within which a tie is likely; used when ties = "model"."""
    margin: float = 0.0
    """Lead in score that the better response must have, per tier of difference, or per point where
    rankings have `scores`; 0 as in the paper."""
    labeler_weights: Path | None = None
    """JSON object of weights by labeler id; a labeler who is not in it weighs 1."""
    ensemble: int = 1
    """Models trained on the same rankings with other seeds (heads and orders): out/model and
    out/ensemble/member-1, ...; results.json says how far they agree."""
    folds: int = 0
    """Groups for cross-validation over labelers (s4.1: 5), each one more training; 0 does none."""
    max_grad_norm: float | None = 1.0
    """Clip the gradient's norm to this (not published); "none" does not clip."""
    weight_decay: float = 0.0
    """AdamW's weight decay (not published)."""
    max_prompt_tokens: int = 1024
    """Rankings with a longer prompt are left out (C)."""
    max_response_tokens: int = 1024
    """Longer responses are cut (C)."""
    micro_batch_tokens: int = 4096
    """Most padded tokens in one pass; changes memory and speed, not the result."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves as often as takes a tenth of the time."""
    keep_checkpoints: bool = False
    """Keep the checkpoints when the run is finished."""
    device: str = "auto"
    """Where to train: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16; weights, optimizer and the saved model stay in fp32 (C: half precision with
    fp32 master weights)."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, one more forward pass."""
    lora_rank: int = 0
    """Train LoRA adapters of this rank beside every linear map, with frozen weights; 0 trains all
    weights."""
    lora_alpha: float | None = None
    """Scale of the adapters: their product times alpha / rank; none is twice the rank."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard too, into out/tensorboard."""
    seed: int = 0
    """Order of the data and the head's first weights."""
    resume: bool = False
    """Go on with the run in `out`."""
    overwrite: bool = False
    """Remove the run in `out` first."""

    def __post_init__(self) -> None:
        check_lora(self)
        for name in ("epochs", "lr", "batch_size", "micro_batch_tokens", "tie_width"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.margin < 0:
            raise ValueError(f"margin is {self.margin}; it must not be negative")
        if self.ensemble < 1:
            raise ValueError(f"ensemble is {self.ensemble}; it must be at least 1 model")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds is {self.folds}; it must be 0, or at least 2 groups")
        if self.ties not in ("drop", "model"):
            raise ValueError(f'ties is {self.ties!r}; it must be "drop" or "model"')
        if self.save_every < 0:
            raise ValueError(f"save_every is {self.save_every}; it must not be negative")


def train_reward(config: RewardConfig, threads: int | None = None) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop.

    `threads`: those of a CPU for the two halves of a batch; None: as many as torch uses.
    """
    # 1. Open the run, the model, the rankings.
    run = prepare_run(
        config.out,
        stage="reward",
        config=config,
        inputs={
            name: getattr(config, name)
            for name in ("model", "data", "valid_data", "demonstrations", "labeler_weights")
        },
        seed=config.seed,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    if run.done:
        return run.dir
    policy, tokenizer = load_policy(config.model)
    add_adapter(trunk_of(policy), config, derived_seed(config.seed, "reward/lora"))
    place(policy.base_model, policy, config)
    if config.activation_checkpointing:
        checkpoint_activations(policy)
    model = ScalarModel.from_policy(policy, seed=config.seed)
    set_dropout(model, 0.0)
    train, valid, demonstrations = _read_data(config, tokenizer, context_length(model))
    run.claim()

    # 2. Optimizer and schedule; take up the newest checkpoint.
    optimizer = make_optimizer(model, config.lr, weight_decay=config.weight_decay)
    per_epoch = -(-len(train.rows) // config.batch_size)
    num_steps = config.epochs * per_epoch
    schedule = cosine_to(0.1)
    state = _resume(run, model, optimizer)
    step = int(state.get("step", 0))
    guard = SkipGuard(in_a_row=int(state.get("skips", 0)))

    # 3. One optimizer step per batch of prompts.
    model.train()
    with run.progress(num_steps, "Reward model"), stop_on_signal() as stop:
        while step < num_steps:
            started = time.monotonic()
            lr = config.lr * schedule(step, num_steps)
            set_lr(optimizer, lr)
            order = shuffled(len(train.rows), config.seed, "reward/order", step // per_epoch)
            start = step % per_epoch * config.batch_size
            batch = [train.rows[i] for i in order[start : start + config.batch_size]]
            metrics = backward_batch(
                model,
                batch,
                padding_id(tokenizer),
                config.micro_batch_tokens,
                config.tie_width if config.ties == "model" else 0.0,
                config.margin,
                threads,
            )
            result = clip_and_step(optimizer, model.parameters(), config.max_grad_norm)
            guard.note(result)
            step += 1
            seconds = time.monotonic() - started
            metrics |= {
                "reward/lr": lr,
                "reward/grad_norm": result.grad_norm,
                "reward/skipped_steps": float(result.skipped),
                "reward/pairs_per_second": metrics["reward/pairs"] / seconds,
            }
            run.log(step, metrics)
            # 4. Save.
            last = step == num_steps
            # What follows the last step may take longer than the steps.
            more = last and bool(config.folds or config.ensemble > 1)
            run.save_if_due(
                step,
                partial(_saved, model, optimizer, step, guard),
                every=config.save_every,
                last=last,
                now=more or (stop.requested and not last),
            )
            if stop.requested and not last:
                raise run.stopped(step)

    # 5. Shift, save, measure.
    model.eval()
    _shift(model, demonstrations, padding_id(tokenizer), config.micro_batch_tokens)
    model.save(run.dir / "model", tokenizer)
    results = evaluate(
        model,
        train.rows,
        [] if valid is None else valid.rows,
        padding_id(tokenizer),
        config.micro_batch_tokens,
    )
    if config.ensemble > 1:
        rows = train.rows if valid is None else valid.rows
        budget = config.micro_batch_tokens
        results["ensemble"] = measure_ensemble(_train_members(config), rows, budget)
    if config.folds:
        results["labeler_folds"] = _cross_validate(config)
    run.finish(
        results
        | {
            "bias_shift": float(model.bias_shift),
            "num_demonstrations": len(demonstrations.prompts),
            "num_dropped_demonstrations": demonstrations.num_dropped,
            "num_cut_demonstrations": demonstrations.num_cut,
            "num_rankings": len(train.rows),
            "num_pairs": sum(len(row.pairs) for row in train.rows),
            "num_dropped_long_prompts": train.num_dropped,
            "num_all_tied": train.num_all_tied,
            "num_cut_responses": train.num_cut,
        }
    )
    return run.dir


def backward_batch(
    model: ScalarModel,
    batch: Sequence[Element],
    pad_id: int,
    micro_batch_tokens: int,
    tie_width: float = 0.0,
    margin: float = 0.0,
    threads: int | None = None,
) -> dict[str, float]:
    """Add the gradient of one batch of prompts; its loss and accuracy before the step.

    On a CPU the halves of the batch are passes of their own, side by side where there are threads
    for both; the sums do not depend on that.
    """
    device, weight = device_of(model), sum(row.weight for row in batch)
    half = len(batch) // 2 if device.type == "cpu" else 0
    parts = [part for part in (batch[:half], batch[half:]) if part]
    jobs = [
        partial(_gradient, model, part, pad_id, micro_batch_tokens, tie_width, margin, weight)
        for part in parts
    ]
    parameters = [p for p in model.parameters() if p.requires_grad]
    total: dict[str, float] = {}
    for gradients, sums in side_by_side(jobs, device, threads):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:  # laid out as the parameter, which the fused step needs
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(gradient)
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value
    num_pairs = max(total["pairs"], 1.0)
    return {
        "reward/loss": total["loss"],
        "reward/accuracy": total["right"] / num_pairs,
        "reward/margin": total["margin"] / num_pairs,
        "reward/score": total["score"] / sum(row.size for row in batch),
        "reward/pairs": total["pairs"],
    }


def _gradient(
    model: ScalarModel,
    batch: Sequence[Element],
    pad_id: int,
    micro_batch_tokens: int,
    tie_width: float,
    margin: float,
    total_weight: float,
) -> tuple[list[Tensor | None], dict[str, float]]:
    """The gradient of each parameter that learns, and what the metrics are sums of."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients: list[Tensor | None] = [None] * len(parameters)
    total: dict[str, float] = {}
    prompts = [row.prompt_ids for row in batch]
    responses = [row.response_ids for row in batch]
    for indices, inputs in ranking_batches(model, prompts, responses, pad_id, micro_batch_tokens):
        rows = [batch[i] for i in indices]
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
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = [
            new if old is None else old if new is None else old.add_(new)
            for old, new in zip(gradients, found, strict=True)
        ]
        sums |= {"loss": loss.detach(), "score": scores_N.detach().sum()}
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + float(value)
    return gradients, total


def _read_data(
    config: RewardConfig, tokenizer: Any, context: int | None
) -> tuple[Elements, Elements | None, Demonstrated]:
    """Training and validation rankings, and the demonstrations that shall score 0."""
    weights: dict[str, float] = {}

    def encode(path: Path, rankings: list[Ranking], keep_all_tied: bool) -> Elements:
        return encode_rankings(
            tokenizer,
            rankings,
            max_prompt_tokens=config.max_prompt_tokens,
            max_response_tokens=config.max_response_tokens,
            context=context,
            where=str(path),
            keep_all_tied=keep_all_tied,
            labeler_weights=weights,
        )

    rankings = read_records(config.data, Ranking)
    if config.labeler_weights is not None:
        weights = read_labeler_weights(config.labeler_weights, rankings)
    refuse_held_out(rankings, str(config.data))
    if config.folds:
        labeler_groups(rankings, config.folds, config.seed)  # too few labelers: said now, not later
    train = encode(config.data, rankings, config.ties == "model")
    valid, demonstrations = None, Demonstrated()
    if config.valid_data is not None:
        held_back = read_records(config.valid_data, Ranking)
        note_overlap(rankings, held_back, config.valid_data)
        valid = encode(config.valid_data, held_back, False)
    if config.demonstrations is not None:
        demonstrations = encode_demonstrations(
            tokenizer,
            read_records(config.demonstrations, Demonstration),
            max_prompt_tokens=config.max_prompt_tokens,
            max_response_tokens=config.max_response_tokens,
            context=context,
            where=str(config.demonstrations),
        )
    return train, valid, demonstrations


def _train_members(config: RewardConfig) -> list[Path]:
    """The ensemble's model folders: this run's, and those of the other seeds' runs."""
    folder = config.out / "ensemble"
    models = [config.out / "model"]
    for number in range(1, config.ensemble):
        out = folder / f"member-{number}"
        member = replace(
            config,
            out=out,
            seed=derived_seed(config.seed, "reward/ensemble", number) % 2**31,
            ensemble=1,
            folds=0,
            resume=(out / "run.json").exists(),
            overwrite=False,
        )
        models.append(train_reward(member) / "model")
    return models


def _cross_validate(config: RewardConfig) -> dict[str, Any]:
    """Train and measure each fold in a run of its own under out/folds."""

    def train(data: Path, valid_data: Path, out: Path) -> dict[str, Any]:
        fold = replace(
            config,
            data=data,
            valid_data=valid_data,
            out=out,
            demonstrations=None,
            labeler_weights=None,
            ensemble=1,
            folds=0,
            resume=(out / "run.json").exists(),
            overwrite=False,
        )
        results = json.loads((train_reward(fold) / "results.json").read_text(encoding="utf-8"))
        return dict(results)

    rankings = read_records(config.data, Ranking)
    return cross_validate(rankings, config.folds, config.out / "folds", config.seed, train)


def _shift(model: ScalarModel, rows: Demonstrated, pad_id: int, batch_tokens: int) -> None:
    """Subtract the demonstrations' mean score; without demonstrations the score stays."""
    if not rows.prompts:
        return
    scores = score_ids(model, rows.prompts, rows.responses, pad_id, batch_tokens)
    with torch.no_grad():
        model.bias_shift -= sum(scores) / len(scores)


def _saved(
    model: ScalarModel, optimizer: torch.optim.Optimizer, step: int, guard: SkipGuard
) -> Saved:
    trees = {"model": weights_of(model), "optimizer": optimizer.state_dict()}
    return trees, {"step": step, "skips": guard.in_a_row}


def _resume(run: Run, model: ScalarModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    saved = run.restore()
    if saved is None:
        return {}
    trees, state = saved
    load_weights(model, trees["model"])
    optimizer.load_state_dict(trees["optimizer"])
    return state
