"""Stops training when a judge that gives no reward no longer sees progress.

The judge is another reward model, ideally of another base model and trained on other labelers'
rankings. At every evaluation it compares the held-out responses with the first evaluation's. The
run ends after `judge_patience` evaluations in a row without a new best win rate, and saves the
weights that the best one sampled from. After that the score still rises, but by exploiting the
reward model's mistakes (Gao et al. 2022).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import render_prompts
from understudy.models.compute import place
from understudy.models.scalar import ScalarModel, load_scalar, score_texts
from understudy.models.sharding import fill
from understudy.models.trunk import context_length
from understudy.records.schema import Conversation
from understudy.rl.models import Models
from understudy.rl.prompts import Prompts
from understudy.rl.settings import RolloutSettings
from understudy.training.ranks import Ranks
from understudy.training.steps import State


@dataclass(kw_only=True, slots=True)
class Watch:
    """The judge, and the evaluations that it has seen."""

    judge: ScalarModel
    tokenizer: Tokenizer = field(repr=False)
    patience: int
    """Evaluations without a new best after which the run ends."""
    ranks: Ranks
    missing_eos_score: float | None
    """The score of a response that did not end; None keeps the judge's own."""
    weights: Mapping[str, Tensor]
    """The policy's weights, which training changes in place."""
    best: dict[str, Tensor]
    """Copies of the weights at the best evaluation."""
    first_scores: list[float] = field(default_factory=list)
    """The judge's scores of the first evaluation's responses."""
    best_rate: float = 0.5
    best_step: int = 0
    """Iterations done at the best evaluation."""
    misses: int = 0
    """Evaluations since the best one."""

    @property
    def is_over(self) -> bool:
        """Whether to end the run."""
        return self.misses >= self.patience

    def score(
        self, prompts: Sequence[Conversation], responses: Sequence[str], finished: Sequence[bool]
    ) -> list[float]:
        """The judge's scores, with `missing_eos_score` for responses that did not end."""
        scores = score_texts(self.judge, self.tokenizer, prompts, responses, finished=finished)
        fixed = self.missing_eos_score
        if fixed is None:
            return scores
        return [score if ended else fixed for score, ended in zip(scores, finished, strict=True)]

    def note(self, step: int, scores: Sequence[float]) -> float:
        """Record an evaluation; returns the share of prompts whose response now scores above the
        first one, a tie counting half."""
        if not self.first_scores:
            self.first_scores = list(scores)
        pairs = zip(scores, self.first_scores, strict=True)
        rate = sum((now > then) + 0.5 * (now == then) for now, then in pairs) / len(scores)
        (rate,) = self.ranks.sum([rate if self.ranks.is_first else 0.0])  # one number on all ranks
        if rate > self.best_rate:
            self.best_rate, self.best_step, self.misses = rate, step, 0
            for name, tensor in self.weights.items():
                self.best[name].copy_(tensor.detach())
        elif step > 0:
            self.misses += 1
        return rate

    @torch.no_grad()
    def restore_best(self, model: nn.Module) -> None:
        """Load the weights of the best evaluation."""
        for name, parameter in model.named_parameters():
            if name in self.best:
                parameter.copy_(self.best[name])

    def say(self, done: int) -> None:
        """One line on standard error: whose weights are saved, and why."""
        if not self.ranks.is_first:
            return
        if self.best_step == 0:
            what = "no evaluation beat the start, whose weights are saved"
        else:
            what = (
                f"the saved model is that of iteration {self.best_step} of {done}, which won "
                f"{self.best_rate:.0%} against the start"
            )
        print(f"judge: {what}{'; the run ended early' if self.is_over else ''}", file=sys.stderr)

    def results(self) -> dict[str, Any]:
        """For results.json."""
        return {"judge_best_iteration": self.best_step, "judge_win_rate": self.best_rate}


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


Judge = tuple[ScalarModel, Tokenizer]


def load_judge(config: RolloutSettings, prompts: Prompts | None, ranks: Ranks) -> Judge | None:
    """The judge of a run, sharded over the ranks, if it has one; ValueError if its context is too
    short for a held-out prompt and a response."""
    if config.judge is None or prompts is None:
        return None
    judge, tokenizer = load_scalar(config.judge, mesh=ranks.mesh)
    judge.requires_grad_(False).eval()
    place(judge, config, frozen=True)
    context = context_length(judge)
    rendered = render_prompts(tokenizer, [record.prompt for record in prompts.records])
    longest = max(map(len, rendered)) + config.max_response_tokens
    if context is not None and longest > context:
        raise ValueError(
            f"judge {config.judge} has a context of {context} tokens, and the held-out prompts "
            f"with their responses need up to {longest}; lower max_response_tokens or give another "
            "judge"
        )
    return judge, tokenizer


def open_watch(config: RolloutSettings, models: Models, judge: Judge | None) -> Watch | None:
    """A watch over the policy before the first evaluation; None without a judge."""
    if judge is None:
        return None
    weights = trained(models.policy)
    return Watch(
        judge=judge[0],
        tokenizer=judge[1],
        patience=config.judge_patience,
        ranks=models.ranks,
        missing_eos_score=config.missing_eos_score,
        weights=weights,
        best={name: tensor.detach().clone() for name, tensor in weights.items()},
    )


@dataclass(frozen=True, slots=True)
class Watched:
    """A trainer's state, with the watch's."""

    state: State
    watch: Watch | None

    def trees(self) -> dict[str, Any]:
        """The parts kept as tensors."""
        return self.state.trees() | ({"best": self.watch.best} if self.watch else {})

    def counters(self) -> dict[str, Any]:
        """The parts kept as JSON."""
        if self.watch is None:
            return self.state.counters()
        kept = ("first_scores", "best_rate", "best_step", "misses")
        return self.state.counters() | {"watch": {n: getattr(self.watch, n) for n in kept}}

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Restore a checkpoint's contents."""
        self.state.load(trees, counters)
        if self.watch is not None:
            for name, tensor in self.watch.best.items():
                fill(tensor, trees["best"][name])
            for name, value in counters["watch"].items():
                setattr(self.watch, name, value)
