"""Continuous batching: requests join the running batch between two tokens and leave when done.

One thread owns the model. Each turn it admits waiting requests (one prefill for as many as there
are free slots, up to a number of tokens, so that running requests do not wait long), then draws one
token for every running request. The rows and the noise are the rollout engine's (`engines/rows.py`,
`engines/noise.py`): a request with a seed gets the same response whatever runs beside it, within
rounding.

Shapes: B live rows, V vocabulary, D hidden size, K alternatives.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.engines.generation import logits_of
from understudy.engines.noise import draw, num_numbers, stream_states, uniforms
from understudy.engines.rows import PREFILL_TOKENS, LiveRows
from understudy.engines.slots import decoding
from understudy.models.policies import Policy
from understudy.models.trunk import device_of


@dataclass(frozen=True, slots=True)
class Token:
    """One drawn token."""

    id: int
    """The token."""
    logprob: float
    """Its log-probability under the model, at temperature 1."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with their log-probabilities, if requested."""
    last: bool = False
    """Whether the sequence ends here: at a stop token, at its limit, or because the model
    failed."""
    error: str | None = None
    """Why it ended, if the model failed."""


@dataclass(eq=False, slots=True)
class Job:
    """One sequence to continue; the model's thread calls `emit` for each token."""

    prompt: Sequence[int]
    """The tokens to continue."""
    max_new_tokens: int
    """Most tokens to draw."""
    temperature: float
    """0 takes the likeliest token."""
    top_p: float
    """Draw only from the likeliest tokens that together have this probability."""
    seed: int
    """Seed of its noise."""
    number: int
    """Which of several responses to one request it is."""
    num_top: int
    """How many alternatives `Token.top` names."""
    emit: Callable[[Token], None]
    """Receives each token."""
    cancelled: bool = False
    """Set by any thread to end it."""
    count: int = 0
    """Tokens drawn so far."""

    @property
    def state(self) -> int:
        """The key of its noise."""
        return int(stream_states(self.seed, [(self.number,)])[0])


class Batcher:
    """A model that many requests share."""

    def __init__(
        self,
        model: Policy,
        *,
        stop_ids: Collection[int],
        pad_id: int,
        slots: int,
        capacity: int,
    ) -> None:
        self.model, self.stop_ids, self.pad_id = model, frozenset(stop_ids), pad_id
        self.num_slots, self.capacity = slots, capacity
        self.head, self.device = model.head, device_of(model)
        self.waiting: deque[Job] = deque()
        self.wake = threading.Condition()
        self.stopping = False
        self.largest_batch = 0
        self.live: list[Job] = []
        self.thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.thread.start()

    def submit(self, sequences: Sequence[Job]) -> None:
        """Queue sequences for a slot."""
        with self.wake:
            self.waiting.extend(sequences)
            self.wake.notify()

    def num_unfinished(self) -> int:
        """The number of waiting and running sequences."""
        return len(self.waiting) + len(self.live)

    def close(self) -> None:
        """Stop after the current token."""
        with self.wake:
            self.stopping = True
            self.wake.notify()
        self.thread.join()

    def _run(self) -> None:
        with decoding(self.model) as mask_by_hand:
            self.rows = LiveRows(
                self.model,
                num_slots=self.num_slots,
                capacity=self.capacity,
                pad_id=self.pad_id,
                mask_by_hand=mask_by_hand,
            )
            while True:
                with self.wake:
                    while not self.waiting and not self.live and not self.stopping:
                        self.wake.wait()
                    if self.stopping:
                        return
                    new = self._choose()
                try:
                    if new:
                        self._admit(new)
                    if self.live:
                        self._step()
                except Exception as error:  # one bad batch must not end the server
                    failed = Token(self.pad_id, 0.0, last=True, error=f"{type(error).__name__}")
                    for sequence in {*self.live, *new}:
                        sequence.emit(failed)
                    self.live = []
                    self.rows.clear()

    def _choose(self) -> list[Job]:
        """Waiting sequences that fit, first come, first served; drops cancelled ones."""
        self.waiting = deque(sequence for sequence in self.waiting if not sequence.cancelled)
        chosen: list[Job] = []
        longest = 0
        while self.waiting and len(self.live) + len(chosen) < self.num_slots:
            sequence = self.waiting[0]
            longest = max(longest, len(sequence.prompt))
            if chosen and longest * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            chosen.append(self.waiting.popleft())
        return chosen

    def _admit(self, new: list[Job]) -> None:
        """Prefill prompts into the slots after the live rows, and draw their first token."""
        prompts = [sequence.prompt for sequence in new]
        token_B = self._draw(self.rows.prefill(prompts), new)
        self.live += new
        self.rows.enter([len(prompt) for prompt in prompts], token_B)
        self.largest_batch = max(self.largest_batch, len(self.live))
        self._leave()

    def _step(self) -> None:
        """Draw one token for every live row."""
        self.rows.token_B = self._draw(self.rows.step(), self.live)
        self._leave()

    def _draw(self, hidden_BD: Tensor, rows: Sequence[Job]) -> np.ndarray:
        """Draw the rows' next tokens and emit each to its request."""
        logits_BV = logits_of(self.head, hidden_BD)
        logprobs_BV = torch.log_softmax(logits_BV, dim=-1)
        token_B = choose_tokens(logits_BV, rows)
        logprob_B = logprobs_BV.gather(1, token_B.unsqueeze(1)).squeeze(1)
        num_top = max(row.num_top for row in rows)
        if num_top:
            top_BK, ids_BK = logprobs_BV.topk(min(num_top, logprobs_BV.shape[1]))
            alternatives = list(zip(ids_BK.tolist(), top_BK.tolist(), strict=True))
        tokens, logprobs = token_B.cpu().numpy(), logprob_B.tolist()
        for i, row in enumerate(rows):
            row.count += 1
            top = tuple(zip(*alternatives[i], strict=True))[: row.num_top] if row.num_top else ()
            last = int(tokens[i]) in self.stop_ids or row.count >= row.max_new_tokens
            row.emit(Token(int(tokens[i]), logprobs[i], top, last))
        return tokens

    def _leave(self) -> None:
        """Drop rows that ended or were cancelled."""
        ended_B = np.array(
            [
                row.cancelled or row.count >= row.max_new_tokens or int(token) in self.stop_ids
                for row, token in zip(self.live, self.rows.token_B, strict=True)
            ]
        )
        if not ended_B.any():
            return
        holes, movers = self.rows.leave(ended_B)
        for hole, mover in zip(holes, movers, strict=True):
            self.live[hole] = self.live[mover]
        self.live = self.live[: len(self.rows)]


def choose_tokens(logits_BV: Tensor, rows: Sequence[Job]) -> Tensor:
    """token_B: each row's draw at its own temperature and top_p, or its likeliest token."""
    device = logits_BV.device
    greedy_B = logits_BV.argmax(dim=-1)
    if all(row.temperature == 0 for row in rows):
        return greedy_B
    temperature_B = torch.tensor([row.temperature or 1.0 for row in rows], device=device)
    weights_BV = torch.softmax(logits_BV / temperature_B.unsqueeze(1), dim=-1)
    if any(row.top_p < 1 for row in rows):
        top_p_B = torch.tensor([row.top_p for row in rows], device=device)
        weights_BV = keep_top_p(weights_BV, top_p_B)
    states_B = np.array([row.state for row in rows], dtype=np.uint64)
    counts_B = np.array([row.count for row in rows])
    uniforms_BL = uniforms(states_B, counts_B, num_numbers(weights_BV.shape[1]))
    drawn_B, _ = draw(weights_BV, torch.from_numpy(uniforms_BL).to(device))
    is_greedy_B = torch.tensor([row.temperature == 0 for row in rows], device=device)
    return torch.where(is_greedy_B, greedy_B, drawn_B)


def keep_top_p(weights_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Probabilities, set to 0 outside the smallest set of likeliest tokens that reaches top_p."""
    sorted_BV, order_BV = weights_BV.sort(dim=-1, descending=True)
    before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    kept_BV = torch.where(before_BV < top_p_B.unsqueeze(1), sorted_BV, 0.0)
    return torch.zeros_like(weights_BV).scatter(1, order_BV, kept_BV)
