"""Prompts in, sampled responses out, and everything measured on them.

Shapes: B episodes, R tokens of the longest response, T columns of a pass, N its response tokens.
"""

from collections.abc import Collection, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from understudy.engines.generation import generate
from understudy.models.batching import derived_seed, shuffled
from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.lora import adapter_off, has_adapter
from understudy.models.policies import device_of, hidden_at, selected_logprobs
from understudy.models.scalar import ScalarModel
from understudy.ppo.episodes import Episodes
from understudy.ppo.passes import Ids, Pass

NUM_JOBS = 2
"""Parts, of as many tokens, in which episodes are measured side by side."""


def prompts_of(iteration: int, batch_size: int, num_prompts: int, seed: int) -> list[int]:
    """Indices of an iteration's prompts: each once, in random order, before any comes again."""
    return [
        shuffled(num_prompts, seed, "ppo/prompts", episode // num_prompts)[episode % num_prompts]
        for episode in range(iteration * batch_size, (iteration + 1) * batch_size)
    ]


def sample(
    policy: PreTrainedModel,
    prompt_ids: Sequence[Ids],
    *,
    keys: list[tuple[int, ...]],
    seed: int,
    temperature: float,
    max_response_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    slots: int,
) -> Episodes:
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
    return Episodes.sampled(prompt_ids, generations, pad_id, device_of(policy))


def measure(
    episodes: Episodes,
    reference: PreTrainedModel,
    reward_model: ScalarModel,
    critic: ScalarModel | None,
    *,
    temperature: float,
    micro_batch_tokens: int,
) -> None:
    """Fill in the reference's log-probs, the raw scores and the critic's values: one forward pass
    each over all episodes."""
    lengths = episodes.lengths()
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)

    @torch.no_grad()
    def measure_each(rows: Sequence[int]) -> None:
        for batch in episodes.passes(rows, micro_batch_tokens):
            with adapter_off(reference), adapter_off(reward_model):
                logprobs_N, _ = response_logprobs(reference, batch, temperature)
                scores_B = reward_model.scores(batch.ids_BT, batch.mask_BT, batch.last_B)
            episodes.put(episodes.ref_logprobs_BR, batch, logprobs_N)
            episodes.raw_scores_B[batch.rows_B] = scores_B
            if critic is not None:
                episodes.put(episodes.values_BR, batch, response_values(critic, batch))

    # An adapter that is off is off for everybody, so then the passes take turns.
    num_jobs = 1 if has_adapter(reference) or has_adapter(reward_model) else NUM_JOBS
    jobs = [partial(measure_each, by_length[i::num_jobs]) for i in range(num_jobs)]
    side_by_side(jobs, episodes.device)


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
