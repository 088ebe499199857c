"""Prompts in, sampled responses out, and everything measured on them.

Shapes: B episodes, R tokens of the longest response, T columns of a pass, N its response tokens.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from torch import Tensor

from understudy.engines.engine import Engine
from understudy.engines.generation import Generation
from understudy.engines.replica import Replica
from understudy.models.batching import derived_seed, pad, shuffled
from understudy.models.chat import never_ended
from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.lora import adapter_off, has_adapter
from understudy.models.policies import Policy, say_once
from understudy.models.scalar import ScalarModel
from understudy.models.sharding import compute
from understudy.models.trunk import device_of
from understudy.rl.episodes import Episodes
from understudy.rl.models import Models
from understudy.rl.passes import Ids
from understudy.rl.prompts import Prompts
from understudy.rl.scores import combined
from understudy.rl.settings import RolloutSettings
from understudy.training.ranks import ALONE, Ranks

PARITY_PROMPTS = 4
"""Prompts on which the sampling weights are compared with the policy's."""
NUM_JOBS = 2
"""Parts of about equal token counts in which episodes are measured side by side."""


def prompts_of(iteration: int, count: int, num_prompts: int, seed: int, stage: str) -> list[int]:
    """Indices of an iteration's prompts, in random order, each once before any repeats."""
    return [
        shuffled(num_prompts, seed, f"{stage}/prompts", number // num_prompts)[number % num_prompts]
        for number in range(iteration * count, (iteration + 1) * count)
    ]


def roll_out(
    config: RolloutSettings, models: Models, prompts: Prompts, iteration: int, copies: int = 1
) -> Episodes:
    """An iteration's episodes: `copies` responses to each prompt, next to each other.

    A token's noise depends on (seed, iteration, episode, token) only. Warns on standard error if
    none of the first responses ends by itself.
    """
    chosen = prompts_of(
        iteration, config.batch_size // copies, len(prompts.ids), config.seed, models.stage
    )
    ids = [prompts.ids[i] for i in chosen for _ in range(copies)]
    episodes = responses_to(config, models, ids, [(iteration, i) for i in range(len(ids))])
    if models.ranks.is_first and iteration == 0 and not episodes.finished_B.any():
        say_once(f"{config.model}: {never_ended(models.tokenizer, config.max_response_tokens)}")
    return episodes


def responses_to(
    config: RolloutSettings, models: Models, prompt_ids: Sequence[Ids], keys: list[tuple[int, ...]]
) -> Episodes:
    """`sample` as configured. Log-probs of an engine that is not exact are measured again;
    FloatingPointError if they were too far off."""
    models.offload.only("rollout")
    episodes = sample(
        models.policy,
        prompt_ids,
        keys=keys,
        seed=derived_seed(config.seed, f"{models.stage}/rollout"),
        temperature=config.temperature,
        max_response_tokens=config.max_response_tokens,
        stop_ids=models.stop_ids,
        pad_id=models.pad_id,
        slots=config.rollout_slots,
        engine=models.engine,
        ranks=models.ranks,
    )
    if not models.engine.exact:
        remeasure(
            models.policy,
            episodes,
            temperature=config.temperature,
            micro_batch_tokens=config.micro_batch_tokens,
            ranks=models.ranks,
        )
        error = episodes.engine_error
        if error is None or not error <= config.vllm_tolerance:
            raise FloatingPointError(
                f"the log-probs of {config.vllm} are up to {error:.2g} from the policy's, above "
                f"vllm_tolerance {config.vllm_tolerance:g}; serve with --dtype float32 and train "
                "without bf16, or raise vllm_tolerance to the error of bf16"
            )
    return episodes


def score_episodes(
    config: RolloutSettings, models: Models, episodes: Episodes, critic: ScalarModel | None = None
) -> None:
    """`measure` as configured."""
    models.offload.only("score")
    measure(
        episodes,
        models.reference,
        models.reward_model,
        critic,
        members=models.members,
        combine=partial(combined, rule=config.ensemble_rule, penalty=config.ensemble_penalty),
        temperature=config.temperature,
        micro_batch_tokens=config.micro_batch_tokens,
        ranks=models.ranks,
    )


def sample(
    policy: Policy,
    prompt_ids: Sequence[Ids],
    *,
    keys: list[tuple[int, ...]],
    seed: int,
    temperature: float,
    max_response_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    slots: int,
    engine: Engine | None = None,
    ranks: Ranks = ALONE,
) -> Episodes:
    """One response to each prompt, drawn with the policy's current weights by `engine`, by default
    the native one.

    Each rank, or each group of ranks that share a copy, samples responses to its share of the
    prompts, dealt out longest first, and every rank receives all responses. A token's noise depends
    on its episode only, so the responses equal those of one process.
    """
    device = device_of(policy)
    engine = engine or Replica(policy)
    first_BT, mask_BT = pad(prompt_ids[:PARITY_PROMPTS], pad_id)
    order = sorted(range(len(prompt_ids)), key=lambda i: (-len(prompt_ids[i]), i))
    mine = list(range(len(prompt_ids)))
    if ranks.world > engine.ranks:
        mine = order[ranks.rank // engine.ranks :: ranks.world // engine.ranks]
    with engine.drawing(policy, first_BT.to(device), mask_BT.to(device)) as draw:
        generations = draw(
            [prompt_ids[i] for i in mine],
            max_new_tokens=max_response_tokens,
            temperature=temperature,
            seed=seed,
            keys=[keys[i] for i in mine],
            stop_ids=stop_ids,
            pad_id=pad_id,
            slots=slots,
        )
    if ranks.world > 1:
        generations = _gathered(mine, generations, ranks, engine.ranks)
    return Episodes.sampled(prompt_ids, generations, pad_id, device)


@torch.no_grad()
def remeasure(
    policy: Policy,
    episodes: Episodes,
    *,
    temperature: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> None:
    """Replace the engine's log-probs with the policy's own, and record the largest difference. The
    passes are divided among the ranks."""
    lengths = episodes.lengths()
    passes = episodes.passes(
        sorted(range(len(lengths)), key=lengths.__getitem__),
        ranks.budget(lengths, micro_batch_tokens),
    )
    own_BR = torch.zeros_like(episodes.old_logprobs_BR)
    for share in ranks.deal(len(passes)):
        batch = passes[share.number]
        logprobs_N, _ = compute(
            policy.model, policy.logprobs_at, *batch.where, batch.labels_N, temperature
        )
        if share.counts:
            episodes.put(own_BR, batch, logprobs_N)
    ranks.sum_tensor(own_BR)
    episodes.engine_error = float((own_BR - episodes.old_logprobs_BR).abs().max())
    episodes.old_logprobs_BR = own_BR


def _gathered(
    mine: Sequence[int], generations: Sequence[Generation], ranks: Ranks, sharing: int
) -> list[Generation]:
    """All responses, in the prompts' order; log-probs are sent as their bits. RuntimeError, on all
    ranks, if the ranks that share a copy (`sharing` of them) drew different responses."""
    rows = [
        [index, int(one.finished), *one.ids, *_bits(one.logprobs)]
        for index, one in zip(mine, generations, strict=True)
    ]
    every = ranks.gather_rows(rows)
    for number, part in enumerate(every):
        if part != every[number - number % sharing]:
            raise RuntimeError(
                f"ranks {number - number % sharing} and {number} share a rollout copy but drew "
                "different responses; nothing was learned from them"
            )
    found = {}
    for index, finished, *rest in (row for part in every[::sharing] for row in part):
        half = len(rest) // 2
        found[index] = Generation(rest[:half], _floats(rest[half:]), bool(finished))
    return [found[index] for index in range(len(found))]


def _bits(values: Sequence[float]) -> list[int]:
    bits: list[int] = torch.tensor(values, dtype=torch.float64).view(torch.int64).tolist()
    return bits


def _floats(bits: Sequence[int]) -> list[float]:
    values: list[float] = torch.tensor(bits, dtype=torch.int64).view(torch.float64).tolist()
    return values


def measure(
    episodes: Episodes,
    reference: Policy,
    reward_model: ScalarModel,
    critic: ScalarModel | None,
    *,
    members: Sequence[ScalarModel] = (),
    combine: Callable[[Tensor], Tensor] = combined,
    temperature: float,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> None:
    """Fill in the reference's log-probs, the raw scores and the critic's values: one forward pass
    each over all episodes, divided among the ranks. With further reward models as `members`,
    `combine` makes a raw score from the scores of all."""
    lengths = episodes.lengths()
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    budget = ranks.budget(lengths, micro_batch_tokens)

    @torch.no_grad()
    def measure_each(rows: Sequence[int]) -> None:
        passes = episodes.passes(rows, budget)
        for share in ranks.deal(len(passes)):
            batch = passes[share.number]
            inputs = (batch.ids_BT, batch.mask_BT, batch.last_B)
            with adapter_off(reference), adapter_off(reward_model):
                logprobs_N, _ = compute(
                    reference.model,
                    reference.logprobs_at,
                    *batch.where,
                    batch.labels_N,
                    temperature,
                )
                scores_B = compute(reward_model, reward_model.scores, *inputs)
            if members:
                others = [compute(one, one.scores, *inputs) for one in members]
                scores_B = combine(torch.stack([scores_B, *others]))
            values_N = None if critic is None else compute(critic, critic.values_at, *batch.where)
            if not share.counts:
                continue
            episodes.put(episodes.ref_logprobs_BR, batch, logprobs_N)
            episodes.raw_scores_B[batch.rows_B] = scores_B.to(episodes.raw_scores_B.dtype)
            if values_N is not None:
                episodes.put(episodes.values_BR, batch, values_N)

    if ranks.world > 1:
        measure_each(by_length)
        # Each episode was measured by one rank and is 0 on the others.
        for grid in (episodes.ref_logprobs_BR, episodes.raw_scores_B, episodes.values_BR):
            ranks.sum_tensor(grid)
        return
    # Switching an adapter off affects every thread, so with adapters the passes take turns.
    num_jobs = 1 if has_adapter(reference) or has_adapter(reward_model) else NUM_JOBS
    jobs = [partial(measure_each, by_length[i::num_jobs]) for i in range(num_jobs)]
    side_by_side(jobs, episodes.device)
