"""Rollouts in process, on the live weights of any causal language model with a standard cache.

What makes it fast: prompts are prefilled sorted by length; equal prompts are prefilled once, as is
a common beginning such as a system turn; a sequence that ends leaves its slot at once, so no step
works on finished rows; free slots are refilled; a decode step reads its cache as a view. A decode
step is one pass of the trunk and the head over the live rows and one pass over the logits, which
gives tokens and log-probabilities together.

What makes it exact: the noise for token t of a sequence depends only on (seed, key, t); see
noise.py.

Shapes: N sequences, B rows, V vocabulary, T columns.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor, nn

from understudy.engines.noise import draw, num_numbers, stream_states, uniforms
from understudy.engines.rows import LEAST_TOKENS, PREFILL_TOKENS, LiveRows, moved
from understudy.engines.slots import decoding
from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.policies import Head, Policy
from understudy.models.trunk import context_length

LEAST_PREFIX = 16
"""Least length in tokens of a common beginning that gets a pass of its own."""
REFILL_SHARE = 8
"""Free slots are refilled once they are 1/8 of all slots, so each prefill is worth its cost."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled response: `Generation(ids=[12, 7, 1], logprobs=[-0.4, -2.0, -0.1],
    finished=True)`.
    """

    ids: list[int]
    """The response's tokens; the last one is a stop token if it finished."""
    logprobs: list[float]
    """Log-probability of each token under the policy at the sampling temperature."""
    finished: bool
    """Whether it ended by a stop token rather than at the length limit."""


def generate(
    model: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    greedy: bool = False,
    seed: int,
    keys: Sequence[Sequence[int]] | None = None,
    stop_ids: Collection[int],
    pad_id: int,
    slots: int = 256,
    on_end: Callable[[int], None] = lambda number: None,
) -> list[Generation]:
    """One response per prompt, in the prompts' order. `on_end` gets the number of responses that
    just ended.

    `keys[i]` names sequence i for the noise (default: its index). Greedy takes the likeliest token;
    log-probs are the policy's at `temperature` in both cases. ValueError for an empty or too long
    prompt.
    """
    keys = [(i,) for i in range(len(prompts))] if keys is None else keys
    _check(model, prompts, keys, max_new_tokens, temperature)
    if not prompts:
        return []
    keep_freed_memory()
    with decoding(model) as mask_by_hand:
        rows = LiveRows(
            model,
            num_slots=min(slots, len(prompts)),
            capacity=max(len(prompt) for prompt in prompts) + max_new_tokens,
            pad_id=pad_id,
            mask_by_hand=mask_by_hand,
        )
        prefix = _common_prefix(prompts)
        if len(prefix) >= LEAST_PREFIX:
            rows.share(prefix)
        sampler = _Sampler(model, seed, keys, max_new_tokens, temperature, greedy)
        engine = _Engine(rows, prompts, sampler, stop_ids, on_end)
        engine.run()
        return engine.results()


def _common_prefix(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """The tokens that all prompts begin with, fewer than the shortest prompt has; empty where all
    prompts are equal."""
    low, high = min(prompts, key=tuple), max(prompts, key=tuple)
    if list(low) == list(high):
        return []
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
    return low[: min(sum(1 for _ in shared), min(map(len, prompts)) - 1)]


def _check(
    model: Policy,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
) -> None:
    if len(keys) != len(prompts):
        raise ValueError(f"keys: {len(keys)}, prompts: {len(prompts)}; give one key per prompt")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (or use greedy)")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    room = context_length(model)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {index} is empty; it needs at least one token")
        if room is not None and len(prompt) + max_new_tokens > room:
            raise ValueError(
                f"prompt {index} has {len(prompt)} tokens; with {max_new_tokens} new ones it "
                f"exceeds the model's context of {room}; shorten it or lower max_new_tokens"
            )


def logits_of(head: Head, hidden_BD: Tensor) -> Tensor:
    """The head on hidden states, in fp32."""
    logits_BV = nn.functional.linear(hidden_BD, head.weight_VD, head.bias_V).float()
    if head.scale != 1.0:
        logits_BV.mul_(head.scale)
    if head.softcap is not None:
        logits_BV = torch.tanh(logits_BV / head.softcap) * head.softcap
    return logits_BV


class _Sampler:
    """Hidden states in, tokens and their log-probs out."""

    def __init__(
        self,
        model: Policy,
        seed: int,
        keys: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float,
        greedy: bool,
    ) -> None:
        self.head = model.head
        self.temperature, self.greedy = temperature, greedy
        self.max_new_tokens = max_new_tokens
        self.states_N = stream_states(seed, keys)
        self.num_numbers = num_numbers(self.head.weight_VD.shape[0])

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits divided by the temperature, in fp32."""
        logits_BV = logits_of(self.head, hidden_BD)
        return logits_BV if self.temperature == 1.0 else logits_BV.div_(self.temperature)

    def draw(
        self, logits_BV: Tensor, sequence_B: np.ndarray, step_B: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """(token_B, logprob_B) of some sequences' next steps."""
        if self.greedy:
            return next_tokens(logits_BV, None)
        uniforms_BL = uniforms(self.states_N[sequence_B], step_B, self.num_numbers)
        return next_tokens(logits_BV, torch.from_numpy(uniforms_BL).to(logits_BV.device))


def next_tokens(logits_BV: Tensor, uniforms_BL: Tensor | None) -> tuple[Tensor, Tensor]:
    """(token_B, logprob_B): each row's token, drawn with its random numbers (`noise.draw`), or
    without them the likeliest one. Overwrites the logits.
    """
    logits_BV -= logits_BV.amax(dim=-1, keepdim=True)
    weights_BV = logits_BV.exp()
    if uniforms_BL is None:
        token_B, total_B = logits_BV.argmax(dim=-1), weights_BV.sum(dim=-1)
    else:
        token_B, total_B = draw(weights_BV, uniforms_BL)
    logprob_B = logits_BV.gather(1, token_B.unsqueeze(1)).squeeze(1) - total_B.float().log()
    return token_B, logprob_B


class _Engine:
    """Runs sequences in rows; arrays on the host record which sequence each row holds."""

    def __init__(
        self,
        rows: LiveRows,
        prompts: Sequence[Sequence[int]],
        sampler: _Sampler,
        stop_ids: Collection[int],
        on_end: Callable[[int], None],
    ) -> None:
        self.rows, self.sampler, self.prompts, self.on_end = rows, sampler, prompts, on_end
        self.stop_ids = np.array(sorted(stop_ids))
        limit = sampler.max_new_tokens
        # Long prompts first, so that rows running side by side have similar lengths.
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), tuple(prompts[i])))
        self.queue = deque(order)
        self.tokens_NT = np.full((len(prompts), limit), rows.pad_id, dtype=np.int64)
        self.logprobs_NT = np.zeros((len(prompts), limit), dtype=np.float32)
        self.count_N = np.zeros(len(prompts), dtype=np.int64)
        self.sequence_B = np.zeros(0, dtype=np.int64)  # the sequence in each live row

    def run(self) -> None:
        """Run until every sequence has ended."""
        while self.queue or len(self.rows):
            free = self.rows.num_slots - len(self.rows)
            if self.queue and free >= max(1, self.rows.num_slots // REFILL_SHARE):
                self.admit(free)
            else:
                self.step()

    def results(self) -> list[Generation]:
        """The responses, in the prompts' order."""
        found = []
        for tokens_T, logprobs_T, count in zip(
            self.tokens_NT, self.logprobs_NT, self.count_N, strict=True
        ):
            ids = tokens_T[:count].tolist()
            finished = bool(np.isin(ids[-1], self.stop_ids))
            found.append(Generation(ids, logprobs_T[:count].tolist(), finished))
        return found

    def admit(self, free: int) -> None:
        """Prefill the longest waiting prompts, as many as one pass takes, and draw their first
        tokens.
        """
        new = [self.queue.popleft()]
        unique = [new[0]]
        source = [0]
        longest = len(self.prompts[new[0]]) - self.rows.cache.prefix
        while self.queue and len(new) < free:
            prompt, last = self.prompts[self.queue[0]], self.prompts[unique[-1]]
            if list(prompt) != list(last):
                length, filled = len(prompt) - self.rows.cache.prefix, len(unique) * longest
                ragged = filled >= LEAST_TOKENS and length < 0.75 * longest
                if ragged or filled + longest > PREFILL_TOKENS:
                    break
                unique.append(self.queue[0])
            source.append(len(unique) - 1)
            new.append(self.queue.popleft())
        hidden_BD = self.rows.prefill(
            [self.prompts[i] for i in unique], source if len(unique) < len(new) else None
        )
        self.sequence_B = np.concatenate([self.sequence_B, np.array(new)])
        token_B, logprob_B = self.draw(self.sampler.logits(hidden_BD)[source], np.array(new))
        self.rows.enter([len(self.prompts[i]) for i in new], token_B)
        self.record(np.array(new), token_B, logprob_B)

    def step(self) -> None:
        """One token for every live row."""
        logits_BV = self.sampler.logits(self.rows.step())
        self.rows.token_B, logprob_B = self.draw(logits_BV, self.sequence_B)
        self.record(self.sequence_B, self.rows.token_B, logprob_B)

    def draw(self, logits_BV: Tensor, sequence_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and log-probs of the rows' next step, on the host."""
        token_B, logprob_B = self.sampler.draw(logits_BV, sequence_B, self.count_N[sequence_B])
        return token_B.cpu().numpy(), logprob_B.cpu().numpy()

    def record(self, sequence_B: np.ndarray, token_B: np.ndarray, logprob_B: np.ndarray) -> None:
        """Record the drawn tokens and release the rows that ended."""
        step_B = self.count_N[sequence_B]
        self.tokens_NT[sequence_B, step_B] = token_B
        self.logprobs_NT[sequence_B, step_B] = logprob_B
        self.count_N[sequence_B] += 1
        at_limit_B = self.count_N[self.sequence_B] == self.sampler.max_new_tokens
        ended_B = np.isin(self.rows.token_B, self.stop_ids) | at_limit_B
        if ended_B.any():
            holes, movers = self.rows.leave(ended_B)
            self.sequence_B = moved(self.sequence_B, holes, movers)[: len(self.rows)]
            self.on_end(int(ended_B.sum()))
