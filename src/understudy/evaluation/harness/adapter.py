"""Our model with lm-evaluation-harness's interface: each context is read once for all its
continuations.

    lm = HarnessModel(model, tokenizer)
    lm_eval.simple_evaluate(model=lm, tasks=["hellaswag"])

Tokens, truncation and the empty context are those of the harness's own HFLM, so log-likelihoods
equal its own within rounding (tests/unit/evaluation/harness). Two differences: an EOS that a
tokenizer adds to every text is left out, and continuations come from our engine.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.evaluation.choices import Ids, Score, encode, encode_pair, score_pairs
from understudy.evaluation.continuations import continue_texts
from understudy.models.policies import Policy
from understudy.models.trunk import context_length
from understudy.training.progress import Progress

MAX_NEW_TOKENS = 256
"""Longest continuation if a task sets no limit; the harness's default."""
_IGNORED = ("do_sample", "temperature", "until", "max_gen_toks", "max_new_tokens", "max_tokens")


class HarnessModel(TemplateLM):
    """A policy with the harness's interface."""

    def __init__(
        self,
        model: Policy,
        tokenizer: Tokenizer,
        *,
        batch_tokens: int = 8192,
        seed: int = 0,
        title: str = "benchmark",
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.title, self.stream = title, sys.stderr
        self.batch_tokens, self.seed = batch_tokens, seed
        self.max_length = context_length(model) or 2**31
        self.num_tokens: dict[tuple[str, str], int] = {}
        """Number of scored tokens of each (context, continuation), for rules per token."""
        self.num_cut = 0
        """Number of contexts that lost their beginning because the model's context is too short."""

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        return encode(self.tokenizer, string, special=add_special_tokens is not False)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        texts = [request.args for request in requests]
        pairs = [encode_pair(self.tokenizer, *text) for text in texts]
        self.num_cut += sum(len(c) + len(ids) > self.max_length + 1 for c, ids in pairs)
        scores = self._score(pairs)
        self.num_tokens |= {t: s.num_tokens for t, s in zip(texts, scores, strict=True)}
        return [(score.logprob, score.is_greedy) for score in scores]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return [(score.logprob, score.is_greedy) for score in self._scores(requests)]

    def _scores(self, requests: Sequence[tuple[Any, Sequence[int], Sequence[int]]]) -> list[Score]:
        pairs = [(tuple(context), tuple(ids)) for _, context, ids in requests]
        return self._score(pairs)

    def _score(self, pairs: Sequence[tuple[Ids, Ids]]) -> list[Score]:
        with Progress(len(pairs), self.title, self.stream) as progress:
            return score_pairs(
                self.model, pairs, self.batch_tokens, lambda done: progress.update(done, {})
            )

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            for request in requests
        ]
        scores = iter(self._scores([(None, *window) for found in windows for window in found]))
        return [sum(next(scores).logprob for _ in found) for found in windows]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(_settings(request.args[1]), []).append(index)
        texts = [""] * len(requests)
        for (until, limit, temperature), indices in groups.items():
            contexts = [requests[i].args[0] for i in indices]
            self.num_cut += sum(len(self.tok_encode(c)) > self.max_length - limit for c in contexts)
            found = continue_texts(
                self.model,
                self.tokenizer,
                contexts,
                until=until,
                max_new_tokens=limit,
                temperature=temperature,
                seed=self.seed,
            )
            for i, text in zip(indices, found, strict=True):
                texts[i] = text
        return texts


def _settings(kwargs: Mapping[str, Any]) -> tuple[tuple[str, ...], int, float]:
    """(stop strings, most new tokens, temperature or 0 if greedy) from a task's generation_kwargs.

    ValueError for settings that our sampler does not support (top_p, num_beams), unless they are
    off.
    """
    off = {"top_p": 1.0, "top_k": 0, "num_beams": 1}
    for name, value in kwargs.items():
        if name not in _IGNORED and not (name in off and value in (off[name], None)):
            raise ValueError(
                f"the task asks for {name}={value}, which Understudy's sampler does not support"
            )
    until = kwargs.get("until") or ()
    limits = (kwargs.get(name) for name in ("max_gen_toks", "max_new_tokens", "max_tokens"))
    limit = next((int(value) for value in limits if value), MAX_NEW_TOKENS)
    temperature = float(kwargs.get("temperature") or 0.0)
    stops = (until,) if isinstance(until, str) else tuple(until)
    return stops, limit, (temperature or 1.0) if kwargs.get("do_sample") else 0.0
