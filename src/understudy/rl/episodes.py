"""Episodes of one iteration, in one layout from the engine to the losses.

Each quantity per response token is a grid (B, R): columns 0, 1, ... are the response's tokens, and
the mask marks the real ones. A micro-batch (`Pass`) reads and writes the N response tokens of its
rows in row-major order.

Shapes: B episodes, R tokens of the longest response, N response tokens of a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.engines.generation import Generation
from understudy.models.batching import pad
from understudy.rl.passes import Ids, Pass, make_passes


@dataclass(kw_only=True, slots=True)
class Episodes:
    """Prompts, sampled responses, and the quantities measured on them; 0 until measured."""

    prompt_ids: Sequence[Ids]
    """Rendered prompts."""
    response_ids: Sequence[Ids]
    """Sampled tokens, with the one that ended the response if it ended."""
    pad_id: int
    """Token id of padding."""
    finished_B: Tensor
    """Whether a response ended by a stop token."""
    mask_BR: Tensor
    """True at response tokens."""
    old_logprobs_BR: Tensor
    """Log-probs of the sampled tokens under the policy that sampled them, at its temperature.

    They come from the native engine itself; a test checks that they equal the trainer's within
    1e-5. After a vLLM server's rollouts the policy measures them again.
    """
    ref_logprobs_BR: Tensor
    """Their log-probs under the reference, at the same temperature."""
    raw_scores_B: Tensor
    """The reward model's scores, read at the last response token."""
    values_BR: Tensor
    """The critic's value of the state before each response token."""
    advantages_BR: Tensor
    """The policy's learning signal."""
    returns_BR: Tensor
    """The critic's targets."""
    engine_error: float | None = None
    """Largest difference between the engine's and the policy's log-probs, if measured."""

    @classmethod
    def sampled(
        cls,
        prompt_ids: Sequence[Ids],
        generations: Sequence[Generation],
        pad_id: int,
        device: torch.device,
    ) -> "Episodes":
        """The engine's responses, with nothing measured yet."""
        _, mask_BR = pad([g.ids for g in generations], pad_id)
        mask_BR = mask_BR.bool()
        old_logprobs_BR = torch.zeros(mask_BR.shape)
        old_logprobs_BR[mask_BR] = torch.tensor([p for g in generations for p in g.logprobs])
        zeros_BR = torch.zeros(mask_BR.shape, device=device)
        return cls(
            prompt_ids=prompt_ids,
            response_ids=[g.ids for g in generations],
            pad_id=pad_id,
            finished_B=torch.tensor([g.finished for g in generations], device=device),
            mask_BR=mask_BR.to(device),
            old_logprobs_BR=old_logprobs_BR.to(device),
            ref_logprobs_BR=zeros_BR,
            raw_scores_B=torch.zeros(len(prompt_ids), device=device),
            values_BR=zeros_BR.clone(),
            advantages_BR=zeros_BR.clone(),
            returns_BR=zeros_BR.clone(),
        )

    @property
    def device(self) -> torch.device:
        """The device of the grids."""
        return self.mask_BR.device

    def kl_B(self) -> Tensor:
        """Each response's sum of log(policy / reference): an unbiased estimate of the KL, which can
        be negative."""
        return ((self.old_logprobs_BR - self.ref_logprobs_BR) * self.mask_BR).sum(dim=1)

    def lengths(self) -> list[int]:
        """Tokens of prompt and response together, per episode."""
        pairs = zip(self.prompt_ids, self.response_ids, strict=True)
        return [len(prompt) + len(response) for prompt, response in pairs]

    def num_tokens(self, rows: Sequence[int]) -> int:
        """Response tokens of some episodes."""
        return sum(len(self.response_ids[i]) for i in rows)

    def passes(self, rows: Sequence[int], budget: int) -> list[Pass]:
        """The episodes `rows` as micro-batches of at most `budget` padded tokens."""
        return make_passes(
            self.prompt_ids,
            self.response_ids,
            rows,
            pad_id=self.pad_id,
            budget=budget,
            device=self.device,
        )

    def put(self, target_BR: Tensor, batch: Pass, values_N: Tensor) -> None:
        """Write a pass's values into a grid, at the response tokens of its rows."""
        part_BR = target_BR[batch.rows_B]
        part_BR[self.mask_BR[batch.rows_B]] = values_N.to(target_BR.dtype)
        target_BR[batch.rows_B] = part_BR

    def take(self, source_BR: Tensor, batch: Pass) -> Tensor:
        """The N values of a grid at the response tokens of a pass's rows."""
        return source_BR[batch.rows_B][self.mask_BR[batch.rows_B]]
