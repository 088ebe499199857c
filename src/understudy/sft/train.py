"""Supervised fine-tuning (s3.5, C.1): demonstrations in, a policy out.

Two uses. The SFT model: 16 epochs, the epoch with the best reward-model score kept
(`reward_model`), or else the best validation loss (`valid_data`), or else the last. The RL init,
which is also the KL reference (C.3): `epochs=2, pretrain_fraction=0.1`, the last epoch.

How pretraining text is mixed in (the paper does not say): each step takes `batch_size`
demonstrations and round(batch_size * f / (1 - f)) rows of `pretrain_length` tokens of text, and
minimises (1 - f) * demonstration loss + f * text loss, each a mean over its own tokens in nats. So
f is the share of the gradient and the share of the rows, whatever the lengths.

Residual dropout 0.2 sits on the output of every attention and feed-forward block in any
architecture; other dropout is off (models/dropout.py).
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import generate
from understudy.models.batching import derived_seed, shuffled
from understudy.models.chat import (
    Example,
    decode_response,
    padding_id,
    render_prompts,
)
from understudy.models.policies import Policy, save_policy
from understudy.models.scalar import ScalarModel, load_scalar, score_texts
from understudy.models.text import TextRows, open_rows
from understudy.models.trunk import context_length, device_of
from understudy.records.io import shelve_records
from understudy.records.overlap import note_overlap, note_splits
from understudy.records.schema import Conversation, Demonstration
from understudy.sft.config import SFTConfig
from understudy.sft.data import Examples, encode_demonstrations
from understudy.sft.loss import backward_batch, mean_loss
from understudy.training.optim import cosine_to
from understudy.training.policy import open_policy
from understudy.training.ranks import ALONE, Ranks
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Learner, Metrics, Steps


@dataclass(slots=True)
class _Data:
    """Everything that a run reads."""

    train: Examples
    valid: Examples | None
    asked: list[Conversation]
    """Prompts of `valid` for which responses are sampled and scored."""
    text: TextRows | None
    num_text: int
    judge: tuple[ScalarModel, Tokenizer] | None

    def batch(self, config: SFTConfig, step: int) -> list[Example]:
        """The demonstrations of a step; each epoch has its own order."""
        per_epoch = self.steps_per_epoch(config)
        order = shuffled(len(self.train.rows), config.seed, "sft/order", step // per_epoch)
        start = step % per_epoch * config.batch_size
        return [self.train.rows[i] for i in order[start : start + config.batch_size]]

    def text_batch(self, config: SFTConfig, step: int) -> list[Example]:
        """The pretraining rows of a step; each is used once before any repeats."""
        if self.text is None:
            return []
        count, numbers = len(self.text), []
        for index in range(step * self.num_text, (step + 1) * self.num_text):
            order = shuffled(count, config.seed, "sft/text", index // count)
            numbers.append(order[index % count])
        return [Example(ids, [1] * len(ids)) for ids in self.text.take(numbers).tolist()]

    def steps_per_epoch(self, config: SFTConfig) -> int:
        return -(-len(self.train.rows) // config.batch_size)


@dataclass(slots=True)
class _State:
    """The state that checkpoints hold."""

    learner: Learner
    history: list[dict[str, Any]] = field(default_factory=list)
    """Measurements after each epoch."""

    def trees(self) -> dict[str, Any]:
        return self.learner.trees()

    def counters(self) -> dict[str, Any]:
        return self.learner.counters() | {"history": self.history}

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        self.learner.load(trees, counters)
        self.history = list(counters["history"])


def train_sft(config: SFTConfig) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop."""
    # 1. Open the run, the base model, the data.
    names = ("model", "data", "valid_data", "pretrain_data", "reward_model")
    run = prepare_trainer_run("sft", config, names)
    if run.done:
        return run.dir
    with run.ranks.together():
        _check_ranks(config, run.ranks)
    model, tokenizer = open_policy("sft", config.model, config, run.ranks, config.dropout)
    with run.ranks.together():
        data = _read_data(config, model, tokenizer)
    run.claim()
    model.train()

    # 2. Optimiser and schedule; load the newest checkpoint.
    state = _State(Learner.of(model, config.lr, config.weight_decay))
    per_epoch = data.steps_per_epoch(config)
    steps = Steps(run, state, config.epochs * per_epoch, config.save_every)
    steps.resume()
    schedule = cosine_to(0.1)
    if steps.step == 0 and data.valid is not None:
        run.log(0, {"sft/valid_loss": _valid_loss(config, model, tokenizer, data.valid, run.ranks)})

    # 3. One optimiser step per batch.
    with steps.shown("SFT"):
        while steps.left:
            started = time.monotonic()
            lr = config.lr * schedule(steps.step, steps.total)
            metrics, num_tokens = _gradient(config, model, tokenizer, data, steps.step, run.ranks)
            result = state.learner.step(config.max_grad_norm, lr)
            metrics |= {
                "sft/lr": lr,
                "sft/grad_norm": result.grad_norm,
                "sft/skipped_steps": float(result.skipped),
                "sft/tokens_per_second": num_tokens / (time.monotonic() - started),
            }
            # 4. After each epoch: measure, keep the best.
            epoch, rest = divmod(steps.step + 1, per_epoch)
            if rest == 0:
                measured = _measure(config, model, tokenizer, data, run.ranks)
                metrics |= measured
                state.history.append({"epoch": epoch, **measured})
                if data.valid is not None and _is_best(state.history):
                    save_policy(model, tokenizer, run.dir / "model")
            # 5. Log, save.
            steps.done(metrics)
    if data.valid is None:
        save_policy(model, tokenizer, run.dir / "model")
    run.finish(_results(data, state.history))
    return run.dir


def _check_ranks(config: SFTConfig, ranks: Ranks) -> None:
    """ValueError for settings that several ranks do not support."""
    if ranks.world > 1 and config.reward_model is not None:
        raise ValueError(
            "reward_model needs sampled responses, which sft draws in one process only; leave it "
            "out, and the validation loss chooses the epoch"
        )


def _read_data(config: SFTConfig, model: Policy, tokenizer: Tokenizer) -> _Data:
    context = context_length(model)

    def encode(path: Path, records: Sequence[Demonstration]) -> Examples:
        return encode_demonstrations(
            tokenizer,
            records,
            max_prompt_tokens=config.max_prompt_tokens,
            max_response_tokens=config.max_response_tokens,
            context=context,
            where=str(path),
        )

    text, num_text = None, 0
    if config.pretrain_data is not None:
        text = open_rows(config.pretrain_data, tokenizer, model, config.pretrain_length)
        fraction = config.pretrain_fraction
        num_text = max(1, round(config.batch_size * fraction / (1 - fraction)))
    judge = None if config.reward_model is None else load_scalar(config.reward_model)
    records, valid, asked = shelve_records(config.data, Demonstration), None, []
    note_splits(records, config.data)
    if config.valid_data is not None:
        held_back = shelve_records(config.valid_data, Demonstration)
        note_overlap(records, held_back, config.valid_data)
        valid = encode(config.valid_data, held_back)
        if judge is not None:
            asked = _first_prompts(held_back, valid.kept, config.score_prompts)
    return _Data(encode(config.data, records), valid, asked, text, num_text, judge)


def _first_prompts(
    records: Sequence[Demonstration], numbers: Sequence[int], count: int
) -> list[Conversation]:
    """The first `count` distinct prompts of the records with these numbers."""
    prompts: dict[Conversation, None] = {}
    for number in numbers:
        prompts[records[number].prompt] = None
        if len(prompts) == count:
            break
    return list(prompts)


def _gradient(
    config: SFTConfig,
    model: Policy,
    tokenizer: Tokenizer,
    data: _Data,
    step: int,
    ranks: Ranks = ALONE,
) -> tuple[Metrics, int]:
    """Accumulate the gradient of one step; returns its losses and the number of real tokens
    computed."""

    def backward(rows: list[Example], weight: float, name: str) -> Tensor:
        return backward_batch(
            model,
            rows,
            padding_id(tokenizer),
            config.micro_batch_tokens,
            weight,
            ranks=ranks,
            dropout_seed=derived_seed(config.seed, "sft/dropout", step, name),
        )

    batch, text = data.batch(config, step), data.text_batch(config, step)
    fraction = config.pretrain_fraction
    metrics: Metrics = {"sft/loss": backward(batch, 1 - fraction, "demonstrations")}
    if text:
        metrics["sft/text_loss"] = backward(text, fraction, "text")
    return metrics, sum(len(row.input_ids) for row in [*batch, *text])


def _measure(
    config: SFTConfig, model: Policy, tokenizer: Tokenizer, data: _Data, ranks: Ranks
) -> dict[str, float]:
    """Validation loss, and the reward model's mean score of sampled responses, after an epoch."""
    if data.valid is None:
        return {}
    metrics = {"sft/valid_loss": _valid_loss(config, model, tokenizer, data.valid, ranks)}
    if data.judge is not None:
        metrics["sft/valid_score"] = _mean_score(config, model, tokenizer, data.asked, data.judge)
    return metrics


def _valid_loss(
    config: SFTConfig, model: Policy, tokenizer: Tokenizer, valid: Examples, ranks: Ranks
) -> float:
    return mean_loss(model, valid.rows, padding_id(tokenizer), config.micro_batch_tokens, ranks)


def _mean_score(
    config: SFTConfig,
    model: Policy,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    judge: tuple[ScalarModel, Tokenizer],
) -> float:
    ids = render_prompts(tokenizer, prompts)
    room = context_length(model)
    longest = max(len(row) for row in ids)
    model.eval()
    responses = generate(
        model,
        ids,
        max_new_tokens=min(config.max_response_tokens, (room or 2**31) - longest),
        temperature=config.score_temperature,
        seed=derived_seed(config.seed, "sft/score"),
        keys=[(i,) for i in range(len(ids))],
        stop_ids=model.stop_ids,
        pad_id=padding_id(tokenizer),
    )
    model.train()
    reward_model, reward_tokenizer = judge
    reward_model.to(device_of(model))
    texts = [decode_response(tokenizer, response.ids) for response in responses]
    finished = [response.finished for response in responses]
    scores = score_texts(reward_model, reward_tokenizer, prompts, texts, finished=finished)
    return sum(scores) / len(scores)


def _quality(measured: dict[str, Any]) -> float:
    """The value that the best epoch maximises: the score, else minus the loss, else its number."""
    if "sft/valid_score" in measured:
        return float(measured["sft/valid_score"])
    if "sft/valid_loss" in measured:
        return -float(measured["sft/valid_loss"])
    return float(measured["epoch"])


def _best(history: list[dict[str, Any]]) -> dict[str, Any]:
    return max(history, key=_quality)


def _is_best(history: list[dict[str, Any]]) -> bool:
    return _best(history) is history[-1]


def _results(data: _Data, history: list[dict[str, Any]]) -> dict[str, Any]:
    best = _best(history)
    results = {
        "best_epoch": best["epoch"],
        "epochs": history,
        "num_demonstrations": len(data.train.rows),
        "num_dropped_long_prompts": data.train.num_dropped,
        "num_cut_responses": data.train.num_cut,
    }
    return dict(json.loads(json.dumps(results)))
