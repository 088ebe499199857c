"""Bytes that a card holds in each phase of a run, by what holds them.

Everything follows from the trainers' code: weights, gradients, Adam's moments and the moving
average are fp32 and divided over the shards, while they are loaded too; rollouts come from a whole
copy of the policy on each card; `passes` measures the rest.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from understudy.engines.rows import PREFILL_TOKENS
from understudy.loop.planner.job import Job
from understudy.loop.planner.networks import FP32, Network
from understudy.loop.planner.passes import Pass, pass_bytes
from understudy.models.scalar import worth_sharing

PROGRAM = 450_000_000
"""Bytes of Python and its libraries in a process on a CPU, as measured (benchmarks/memory.py); on a
card they are part of what is not usable."""
LOGIT_COPIES = 3
"""Tensors of rows times vocabulary that drawing a token holds at once."""

Measure = Callable[[Network, Pass], int]
Phases = dict[str, dict[str, int]]
"""Bytes by phase and holder."""


def phases_of(job: Job, measure: Measure = pass_bytes) -> Phases:
    """Bytes on the card that holds the most, by phase and holder; `measure` gives a pass's."""
    phases = _sampling(job, measure) if job.samples else _one_network(job, measure)
    if job.layout.device == "cpu":
        for held in phases.values():
            held["program"] = PROGRAM
    return phases


def peak_of(phases: Phases) -> tuple[str, int]:
    """The phase that needs the most, and its bytes."""
    totals = {name: sum(held.values()) for name, held in phases.items()}
    return max(totals.items(), key=lambda item: item[1])


def host_bytes(job: Job) -> int:
    """Bytes of a machine's own memory at loading: each of its processes reads its shard of one
    network after the other, and moves it to its card."""
    networks = [job.learner, *([job.scalar] if job.samples else [])]
    return job.layout.cards * FP32 * max(one.numbers(job.layout.shards) for one in networks)


def _state(job: Job, network: Network, name: str) -> dict[str, int]:
    """A trained network's weights and moments."""
    shards = job.layout.shards
    return {name: FP32 * network.numbers(shards), f"{name}'s moments": network.moments(shards)}


def _gradients(job: Job, network: Network) -> int:
    return FP32 * network.numbers(job.layout.shards, trained=True)


def _one_network(job: Job, measure: Measure) -> Phases:
    """SFT, reward model, DPO, KTO."""
    network = job.learner
    state = _state(job, network, "reward model" if job.stage == "reward" else "policy")
    passes = [_training_pass(job, network, job.settings.micro_batch_tokens)]
    if job.with_text:
        passes.append(_text_pass(job))
    copies = _reward_copies(job) if job.stage == "reward" else 1
    return {
        "load": {next(iter(state)): FP32 * network.numbers(job.layout.shards)},
        "update": {
            **state,
            "gradients": copies * _gradients(job, network),
            "pass": max(measure(network, one) for one in passes),
        },
    }


def _reward_copies(job: Job) -> int:
    """Gradients held while a pass of the reward model runs: one process adds each half batch's up
    by itself."""
    alone = job.layout.world == 1
    return 2 if alone and job.layout.device == "cpu" else 1


def _sampling(job: Job, measure: Measure) -> Phases:
    """PPO, and the methods on groups of responses, which have no critic and no average."""
    settings, layout = job.settings, job.layout
    policy, scalar = job.policy, job.scalar
    adapters, alone = settings.lora_rank > 0, layout.world == 1
    critic = scalar if job.stage == "ppo" else None
    sizes = {"policy": policy} | ({"critic": scalar} if critic else {})
    if not adapters:  # with adapters the reference is the policy with the adapter off
        sizes["reference"] = policy
    if not adapters or critic is None:  # and the reward model is the critic's
        sizes["reward model"] = scalar
    weights = {name: FP32 * one.numbers(layout.shards) for name, one in sizes.items()}
    replica = {"rollout copy": 0 if alone else FP32 * policy.parameters}
    held = {
        **weights,
        "policy's moments": policy.moments(layout.shards),
        **({"critic's moments": critic.moments(layout.shards)} if critic else {}),
        **({"moving average": _gradients(job, policy)} if getattr(settings, "ema", 0) > 0 else {}),
        **replica,
    }
    return {
        "load": {**weights, **replica},
        "rollout": {
            **held,
            "key-value cache": cache_bytes(job),
            "pass": _rollout_pass(job, measure),
        },
        "score": {**held, "pass": _score_passes(job, measure)},
        "update": {**held, **(_ppo_update if critic else _policy_update)(job, measure)},
    }


def _policy_update(job: Job, measure: Measure) -> dict[str, int]:
    """Gradients and passes of the policy alone."""
    one = _training_pass(job, job.policy, job.settings.micro_batch_tokens)
    return {"policy's gradients": _gradients(job, job.policy), "pass": measure(job.policy, one)}


def _ppo_update(job: Job, measure: Measure) -> dict[str, int]:
    """Gradients and passes of policy and critic, which on a CPU may run side by side."""
    settings, policy, critic = job.settings, job.policy, job.scalar
    tokens = settings.micro_batch_tokens
    sizes = sorted([policy.parameters, critic.parameters])
    alike = sizes[1] <= 1.5 * sizes[0] and not settings.activation_checkpointing
    at_once = job.layout.device == "cpu" and alike
    tokens = tokens // 2 if at_once else tokens
    by_policy, by_critic = (
        measure(network, _training_pass(job, network, tokens)) for network in (policy, critic)
    )
    own, critics = _gradients(job, policy), _gradients(job, critic)
    if at_once and torch.get_num_threads() > 1:
        found = [(critics, by_policy + by_critic)]
    else:  # the critic's gradients are gone before the text's pass
        found = [(0, by_policy), (critics, by_critic)]
    if job.with_text:
        found.append((0, measure(policy, _text_pass(job))))
    critics, largest = max(found, key=sum)
    return {"policy's gradients": own, "critic's gradients": critics, "pass": largest}


def _pass(job: Job, network: Network, tokens: int, length: int, reads: int) -> Pass:
    """A pass of the longest rows."""
    settings, layout = job.settings, job.layout
    return Pass(
        rows=max(1, tokens // length),
        length=length,
        reads=reads,
        shards=layout.shards,
        device=layout.device,
        bf16=settings.bf16,
        checkpointing=settings.activation_checkpointing,
        dropout=getattr(settings, "dropout", 0.0),
    )


def _training_pass(job: Job, network: Network, tokens: int) -> Pass:
    settings = job.settings
    response = settings.max_response_tokens
    if job.stage != "reward":
        one = _pass(job, network, tokens, job.row, response)
        if not job.samples:
            return one
        minibatch = -(-job.minibatch // job.layout.world)  # each rank gets a pass
        return replace(one, rows=min(one.rows, minibatch))
    shared = shared_row(job)
    one = _pass(job, network, tokens, shared or job.row, job.responses if shared else 1)
    keeps = "new" if job.layout.world == 1 else "sum"
    rows = one.rows if shared else max(one.rows, job.responses)
    return replace(one, rows=rows, masked=shared > 0, keeps=keeps)


def shared_row(job: Job) -> int:
    """Tokens of a row that holds a prompt and all its responses; 0 if separate rows cost less."""
    prompt, response = job.settings.max_prompt_tokens, job.settings.max_response_tokens
    responses = [response] * job.responses
    worth = worth_sharing(job.scalar.model, prompt, responses)
    return prompt + sum(responses) if worth else 0


def _text_pass(job: Job) -> Pass:
    settings = job.settings
    length = settings.ptx_length if job.stage == "ppo" else settings.pretrain_length
    return _pass(job, job.policy, settings.micro_batch_tokens, length, length)


def _score_passes(job: Job, measure: Measure) -> int:
    """The largest forward pass over episodes; the critic's weights are trained, the others' not."""
    tokens = job.settings.micro_batch_tokens
    found = []
    networks = [(job.policy, True), (job.scalar, True)]
    if job.stage == "ppo":
        networks.append((job.scalar, False))
    for network, frozen in networks:
        one = _training_pass(job, network, tokens)
        found.append(measure(network, replace(one, keeps="none", frozen=frozen)))
    jobs = 2 if job.layout.device == "cpu" and torch.get_num_threads() > 1 else 1
    return jobs * max(found)


def rollout_rows(job: Job) -> int:
    """Responses that a card samples side by side."""
    share = -(-job.settings.batch_size // job.layout.world)
    return int(min(job.settings.rollout_slots, share))


def cache_bytes(job: Job) -> int:
    """The key-value cache at full length, with the spare buffer that it moves through."""
    numbers = job.policy.cached_numbers() * job.row * rollout_rows(job)
    return (2 * job.policy.layers + 1) * numbers * (2 if job.settings.bf16 else FP32)


def _rollout_pass(job: Job, measure: Measure) -> int:
    """A prefill, or a draw from the logits of all rows, whichever is larger."""
    prompt = job.settings.max_prompt_tokens
    one = _pass(job, job.policy, PREFILL_TOKENS, prompt, 1)
    one = replace(one, rows=min(one.rows, rollout_rows(job)), shards=1, checkpointing=False)
    prefill = replace(one, keeps="none", frozen=job.layout.world > 1)
    logits = LOGIT_COPIES * FP32 * rollout_rows(job) * job.policy.vocabulary
    return max(measure(job.policy, prefill), logits)
