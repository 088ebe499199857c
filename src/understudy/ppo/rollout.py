"""Episodes of one iteration: prompts in, sampled responses and everything measured on them.

Shapes: B episodes, R tokens of the longest response, T columns of a pass, N its response tokens.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from understudy.engines.generation import generate
from understudy.models.batching import derived_seed, pad, shuffled
from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.lora import adapter_off, has_adapter
from understudy.models.policies import device_of, hidden_at, selected_logprobs
from understudy.models.scalar import ScalarModel
from understudy.ppo.passes import Pass, make_passes, put

Ids = Sequence[int]
NUM_JOBS = 2
"""Parts, of as many tokens, in which episodes are measured side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """Sampled responses."""

    prompt_ids: list[Ids]
    """Rendered prompts."""
    response_ids: list[list[int]]
    """Sampled tokens, with the one that ended the response if it ended."""
    finished_B: Tensor
    """Whether a response ended by a stop token."""
    mask_BR: Tensor
    """True at response tokens, which start at column 0."""
    old_logprobs_BR: Tensor
    """Log-probs of the sampled tokens under the policy that sampled them, at its temperature.

    They come from the rollout engine itself; a test holds them to the trainer's within 1e-5.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What reference, reward model and critic say about a rollout."""

    ref_logprobs_BR: Tensor
    """Log-probs of the sampled tokens under the reference, at the same temperature."""
    raw_scores_B: Tensor
    """The reward model's scores, read at the last response token."""
    values_BR: Tensor
    """The critic's value of the state before each response token."""


def prompts_of(iteration: int, batch_size: int, num_prompts: int, seed: int) -> list[int]:
    """Indices of an iteration's prompts: each once, in random order, before any comes again."""
    return [
        shuffled(num_prompts, seed, "ppo/prompts", episode // num_prompts)[episode % num_prompts]
        for episode in range(iteration * batch_size, (iteration + 1) * batch_size)
    ]


def sample(
    policy: PreTrainedModel,
    prompt_ids: list[Ids],
    *,
    keys: list[tuple[int, ...]],
    seed: int,
    temperature: float,
    max_response_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    slots: int,
) -> Rollout:
    """One response to each prompt, from the policy's live weights."""
    generations = generate(
        policy,
        prompt_ids,
        max_new_tokens=max_response_tokens,
        temperature=temperature,
        seed=derived_seed(seed, "ppo/rollout"),
        keys=keys,
        stop_ids=stop_ids,
        pad_id=pad_id,
        slots=slots,
    )
    device = device_of(policy)
    _, mask_BR = pad([g.ids for g in generations], pad_id)
    old_logprobs_BR = torch.zeros(mask_BR.shape)
    old_logprobs_BR[mask_BR.bool()] = torch.tensor([p for g in generations for p in g.logprobs])
    return Rollout(
        prompt_ids=prompt_ids,
        response_ids=[g.ids for g in generations],
        finished_B=torch.tensor([g.finished for g in generations], device=device),
        mask_BR=mask_BR.bool().to(device),
        old_logprobs_BR=old_logprobs_BR.to(device),
    )


def measure(
    rollout: Rollout,
    reference: PreTrainedModel,
    reward_model: ScalarModel,
    critic: ScalarModel | None,
    *,
    temperature: float,
    pad_id: int,
    micro_batch_tokens: int,
) -> Measured:
    """One forward pass each of reference, reward model and critic over all episodes."""
    device = device_of(reference)
    ref_logprobs_BR = torch.zeros_like(rollout.old_logprobs_BR)
    values_BR = torch.zeros_like(rollout.old_logprobs_BR)
    raw_scores_B = torch.zeros(len(rollout.prompt_ids), device=device)
    lengths = [
        len(p) + len(r) for p, r in zip(rollout.prompt_ids, rollout.response_ids, strict=True)
    ]
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)

    @torch.no_grad()
    def measure_each(rows: Sequence[int]) -> None:
        for batch in make_passes(
            rollout.prompt_ids,
            rollout.response_ids,
            rows,
            pad_id=pad_id,
            budget=micro_batch_tokens,
            device=device,
        ):
            with adapter_off(reference), adapter_off(reward_model):
                logprobs_N, _ = response_logprobs(reference, batch, temperature)
                scores_B = reward_model.scores(batch.ids_BT, batch.mask_BT, batch.last_B)
            put(ref_logprobs_BR, rollout.mask_BR, batch.rows_B, logprobs_N)
            raw_scores_B[batch.rows_B] = scores_B
            if critic is not None:
                put(values_BR, rollout.mask_BR, batch.rows_B, response_values(critic, batch))

    # An adapter that is off is off for everybody, so then the passes take turns.
    num_jobs = 1 if has_adapter(reference) or has_adapter(reward_model) else NUM_JOBS
    jobs = [partial(measure_each, by_length[i::num_jobs]) for i in range(num_jobs)]
    side_by_side(jobs, device)
    return Measured(ref_logprobs_BR=ref_logprobs_BR, raw_scores_B=raw_scores_B, values_BR=values_BR)


def response_logprobs(
    model: PreTrainedModel, batch: Pass, temperature: float
) -> tuple[Tensor, Tensor]:
    """(logprobs_N, entropy_N) of the response tokens of a pass."""
    hidden_ND = hidden_at(model, batch.ids_BT, batch.mask_BT, batch.row_N, batch.column_N)
    return selected_logprobs(model, hidden_ND, batch.labels_N, temperature)


def response_values(critic: ScalarModel, batch: Pass) -> Tensor:
    """(N,) values of the states before the response tokens of a pass."""
    trunk = critic.trunk
    return critic.read(hidden_at(trunk, batch.ids_BT, batch.mask_BT, batch.row_N, batch.column_N))
