"""Stops training when a judge that gives no reward no longer sees progress.

The judge is another reward model (`judge`), a language model at an address (`judge_url`), or in
Python anything that compares two responses, such as people (`train_ppo(config, judge)`). At every
evaluation it compares the held-out responses with the first evaluation's. The run ends after
`judge_patience` evaluations in a row without a new best win rate, and saves the weights that the
best one sampled from. After that the score still rises, but by exploiting the reward model's
mistakes (Gao et al. 2022).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import render_prompts
from understudy.models.compute import place
from understudy.models.scalar import ScalarModel, load_scalar, score_texts
from understudy.models.sharding import fill
from understudy.models.trunk import context_length
from understudy.records.schema import Prompt
from understudy.rl.models import Models
from understudy.rl.prompts import Prompts
from understudy.rl.settings import RolloutSettings
from understudy.training.ranks import Ranks
from understudy.training.steps import State


@dataclass(frozen=True, slots=True)
class Said:
    """A response to a held-out prompt: `Said("Seven.", True)`."""

    text: str
    finished: bool
    """Whether it ended by a stop token."""


class Judge(Protocol):
    """Whoever compares what the policy says now with what it said before training."""

    def outcomes(
        self, prompts: Sequence[Prompt], now: Sequence[Said], first: Sequence[Said]
    ) -> Sequence[float]:
        """For each prompt 1 if the response of now is better than the first one, 0.5 if neither is,
        0 if it is worse. With several ranks, the first one's outcomes count."""
        ...


@dataclass(kw_only=True, slots=True)
class ScalarJudge:
    """A reward model as judge: the higher score is better."""

    model: ScalarModel
    tokenizer: Tokenizer = field(repr=False)
    missing_eos_score: float | None
    """The score of a response that did not end; None keeps the model's own."""
    _first: tuple[Sequence[Said], list[float]] = ((), [])

    def outcomes(
        self, prompts: Sequence[Prompt], now: Sequence[Said], first: Sequence[Said]
    ) -> list[float]:
        """See `Judge`."""
        if self._first[0] != first:
            self._first = first, self._scores(prompts, first)
        pairs = zip(self._scores(prompts, now), self._first[1], strict=True)
        return [(score > before) + 0.5 * (score == before) for score, before in pairs]

    def _scores(self, prompts: Sequence[Prompt], responses: Sequence[Said]) -> list[float]:
        ended = [response.finished for response in responses]
        asked, texts = [one.prompt for one in prompts], [response.text for response in responses]
        scores = score_texts(self.model, self.tokenizer, asked, texts, finished=ended)
        fixed = self.missing_eos_score
        if fixed is None:
            return scores
        return [s if whole else fixed for s, whole in zip(scores, ended, strict=True)]


@dataclass(kw_only=True, slots=True)
class Watch:
    """The judge, and the evaluations that it has seen."""

    judge: Judge
    patience: int
    """Evaluations without a new best after which the run ends."""
    ranks: Ranks
    weights: Mapping[str, Tensor]
    """The policy's weights, which training changes in place."""
    best: dict[str, Tensor]
    """Copies of the weights at the best evaluation."""
    first: list[Said] = field(default_factory=list)
    """The first evaluation's responses."""
    best_rate: float = 0.5
    best_step: int = 0
    """Iterations done at the best evaluation."""
    misses: int = 0
    """Evaluations since the best one."""

    @property
    def is_over(self) -> bool:
        """Whether to end the run."""
        return self.misses >= self.patience

    def look(
        self, step: int, prompts: Sequence[Prompt], responses: Sequence[Said]
    ) -> tuple[list[float], float]:
        """Have an evaluation judged and record it: the outcomes against the first evaluation, and
        their mean, which is the same on all ranks."""
        if not self.first:
            self.first = list(responses)
        outcomes = list(self.judge.outcomes(prompts, responses, self.first))
        rate = sum(outcomes) / len(outcomes)
        (rate,) = self.ranks.sum([rate if self.ranks.is_first else 0.0])
        if rate > self.best_rate:
            self.best_rate, self.best_step, self.misses = rate, step, 0
            for name, tensor in self.weights.items():
                self.best[name].copy_(tensor.detach())
        elif step > 0:
            self.misses += 1
        return outcomes, rate

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


def load_judge(
    config: RolloutSettings, prompts: Prompts | None, ranks: Ranks, given: Judge | None = None
) -> Judge | None:
    """The judge of a run, if it has one: the one that is given, or the reward model, sharded over
    the ranks; ValueError for both, or if its context is too short for a held-out prompt and a
    response."""
    if given is not None and (config.judge is not None or prompts is None):
        raise ValueError("a judge needs eval_prompts and eval_every, and no other judge beside it")
    if given is None and config.judge_url is not None:
        raise ValueError("judge_url is for the command line; in Python, give the trainer a judge")
    if config.judge is None or prompts is None:
        return given
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
    return ScalarJudge(model=judge, tokenizer=tokenizer, missing_eos_score=config.missing_eos_score)


def open_watch(config: RolloutSettings, models: Models, judge: Judge | None) -> Watch | None:
    """A watch over the policy before the first evaluation; None without a judge."""
    if judge is None:
        return None
    weights = trained(models.policy)
    return Watch(
        judge=judge,
        patience=config.judge_patience,
        ranks=models.ranks,
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
        kept = {name: getattr(self.watch, name) for name in ("best_rate", "best_step", "misses")}
        kept["first"] = [[said.text, said.finished] for said in self.watch.first]
        return self.state.counters() | {"watch": kept}

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Restore a checkpoint's contents."""
        self.state.load(trees, counters)
        if self.watch is not None:
            for name, tensor in self.watch.best.items():
                fill(tensor, trees["best"][name])
            kept = dict(counters["watch"])
            self.watch.first = [Said(*pair) for pair in kept.pop("first")]
            for name, value in kept.items():
                setattr(self.watch, name, value)
