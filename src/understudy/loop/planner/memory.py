"""Bytes that a card holds in each phase of a run, by network and kind.

The numbers follow from the trainers' code. Weights, gradients, Adam's moments and the moving
average are fp32 and sharded, also while they load. Frozen networks are stored in the precision in
which they compute. Rollouts come from a copy of the policy on each card, or shared by several
cards. `passes` measures the rest.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from understudy.engines.rows import PREFILL_TOKENS
from understudy.loop.planner.job import Job
from understudy.loop.planner.networks import FP32, Network
from understudy.loop.planner.passes import Pass, pass_bytes
from understudy.models.scalar import worth_sharing
from understudy.rl.models import PHASES
from understudy.rl.rollout import PARITY_PROMPTS

PROGRAM = 450_000_000
"""Bytes of Python and its libraries in a process on a CPU, as measured (benchmarks/memory.py); on
cards, the share that `usable` leaves free covers them."""
LOGIT_COPIES = 3
"""Tensors of shape rows x vocabulary that are alive at once while a token is drawn."""

Measure = Callable[[Network, Pass], int]
Phases = dict[str, dict[str, int]]
"""Bytes by phase and holder."""


def phases_of(job: Job, measure: Measure = pass_bytes) -> Phases:
    """Bytes on the card that holds the most, by phase and holder; `measure` gives a pass's peak."""
    phases = _sampling(job, measure) if job.samples else _one_network(job, measure)
    if job.layout.device == "cpu":
        for held in phases.values():
            held["program"] = PROGRAM
        networks = [job.learner, *([job.scalar] if job.samples else [])]
        if job.settings.lora_rank and job.settings.bf16:  # read in fp32, then rounded
            unrounded = (_weights(job, one) - _learns(job, one) for one in networks)
            phases["load"]["unrounded"] = max(unrounded)
    return phases


def peak_of(phases: Phases) -> tuple[str, int]:
    """The phase that needs the most, and its bytes."""
    totals = {name: sum(held.values()) for name, held in phases.items()}
    return max(totals.items(), key=lambda item: item[1])


def host_bytes(job: Job) -> int:
    """Peak bytes of a machine's own memory: while loading, when each process reads its shard of
    one network after the other and moves it to its card, or with `cpu_offload` while sampling."""
    networks = [job.learner, *([job.scalar] if job.samples else [])]
    loading = max(_weights(job, one) for one in networks)
    waiting = 0
    if job.samples and job.settings.cpu_offload:
        held = _held(job)
        waiting = sum(size for name, size in held.items() if name not in PHASES["rollout"])
    return job.layout.cards * max(loading, waiting)


def _state(job: Job, network: Network, name: str) -> dict[str, int]:
    """A trained network's weights and moments."""
    return {name: _learns(job, network), f"{name}'s moments": _moments(job, network)}


def _weights(job: Job, network: Network) -> int:
    return FP32 * network.numbers(job.layout.shards, tensor=job.layout.tensor)


def _learns(job: Job, network: Network) -> int:
    """Weights of a network that is trained, in full or through an adapter."""
    if not job.settings.lora_rank:
        return _weights(job, network)
    return _frozen(job, network) + _gradients(job, network)


def _frozen(job: Job, network: Network) -> int:
    """Weights of a frozen network, or the frozen ones of a network with an adapter."""
    layout = job.layout
    return network.frozen_bytes(layout.shards, layout.tensor, job.settings.bf16)


def _moments(job: Job, network: Network) -> int:
    return network.moments(job.layout.shards, job.layout.tensor)


def _gradients(job: Job, network: Network) -> int:
    return FP32 * network.numbers(job.layout.shards, trained=True, tensor=job.layout.tensor)


def _one_network(job: Job, measure: Measure) -> Phases:
    """SFT, reward model, DPO, KTO."""
    network = job.learner
    state = _state(job, network, "reward model" if job.stage == "reward" else "policy")
    passes = [_training_pass(job, network, job.settings.micro_batch_tokens)]
    if job.with_text:
        passes.append(_text_pass(job))
    return {
        "load": {name: size for name, size in state.items() if name in NETWORKS},
        "update": {
            **state,
            "gradients": _gradients(job, network),
            "pass": max(measure(network, one) for one in passes),
        },
    }


def _sampling(job: Job, measure: Measure) -> Phases:
    """PPO, and the methods on groups of responses, which have no critic and no moving average."""
    settings, alone = job.settings, job.layout.world == 1
    held = _held(job)

    def here(phase: str) -> dict[str, int]:
        """What the card holds in this phase; with `cpu_offload` the rest is in main memory."""
        if not settings.cpu_offload:
            return held
        needed = [_OWNERS.get(name, name) for name in PHASES[phase]]
        return {name: size for name, size in held.items() if name in needed}

    copied, served = not alone and settings.vllm is None, settings.vllm is not None
    sampling = {**here("rollout"), "rollout copy": copy_bytes(job) if copied else 0}
    sync = {"sync": {**sampling, "pass": _sync_pass(job, measure)}} if copied else {}
    update = _ppo_update if job.stage == "ppo" else _policy_update
    return {
        "load": {name: size for name, size in held.items() if name in NETWORKS},
        **sync,
        "rollout": {
            **sampling,
            "key-value cache": 0 if served else cache_bytes(job),
            "pass": (_served_pass if served else _rollout_pass)(job, measure),
        },
        "score": {**here("score"), "pass": _score_passes(job, measure)},
        "update": {**here("update"), **update(job, measure)},
    }


NETWORKS = ("policy", "critic", "reference", "reward model")
_OWNERS = {"reward models": "reward model", "average": "moving average"}
"""Our names for what `rl.models.PHASES` names differently."""


def _held(job: Job) -> dict[str, int]:
    """Networks, moments and moving average of a stage that samples."""
    settings, policy = job.settings, job.policy
    adapters = settings.lora_rank > 0
    critic = job.scalar if job.stage == "ppo" else None
    sizes = {"policy": _learns(job, policy)}
    if critic:
        sizes["critic"] = _learns(job, critic)
    scorer, head = _frozen(job, job.scalar), FP32 * (job.scalar.config.hidden_size + 1)
    if adapters and settings.share_base:  # one adapter per network, assumed to be of equal rank
        if critic:
            sizes["critic"] = _gradients(job, critic)
        scorer = head + (_gradients(job, job.scalar) - head) // (2 if settings.bf16 else 1)
    elif adapters:  # the critic is the reward model plus an adapter and a head of its own
        scorer = head + (0 if critic else scorer)
    else:  # with adapters, the reference is the policy with its adapter disabled
        sizes["reference"] = _frozen(job, policy)
    sizes["reward model"] = scorer
    return {
        **sizes,
        "policy's moments": _moments(job, policy),
        **({"critic's moments": _moments(job, critic)} if critic else {}),
        **({"moving average": _gradients(job, policy)} if getattr(settings, "ema", 0) > 0 else {}),
    }


def copy_bytes(job: Job) -> int:
    """Bytes of the rollout copy, or of a card's part of it."""
    return job.policy.copy_bytes(job.settings.ranks_of_a_copy, job.settings.bf16)


def _policy_update(job: Job, measure: Measure) -> dict[str, int]:
    """Gradients and passes of the policy alone."""
    one = _training_pass(job, job.policy, job.settings.micro_batch_tokens)
    return {"policy's gradients": _gradients(job, job.policy), "pass": measure(job.policy, one)}


def _ppo_update(job: Job, measure: Measure) -> dict[str, int]:
    """Gradients and passes of policy and critic, which may run concurrently on a CPU."""
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
    else:  # the critic's gradients are freed before the pass over text
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
        tensor=layout.tensor,
        device=layout.device,
        bf16=settings.bf16,
        rounded=settings.bf16 and settings.lora_rank > 0,
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
        minibatch = -(-job.minibatch // job.layout.shares)  # a rank's share
        return replace(one, rows=min(one.rows, minibatch))
    shared = shared_row(job)
    one = _pass(job, network, tokens, shared or job.row, job.responses if shared else 1)
    rows = one.rows if shared else max(one.rows, job.responses)
    return replace(one, rows=rows, masked=shared > 0)


def shared_row(job: Job) -> int:
    """Tokens of a row with a prompt and all its responses; 0 if separate rows cost less."""
    prompt, response = job.settings.max_prompt_tokens, job.settings.max_response_tokens
    responses = [response] * job.responses
    worth = worth_sharing(job.scalar.model, prompt, responses)
    return prompt + sum(responses) if worth else 0


def _text_pass(job: Job) -> Pass:
    settings = job.settings
    length = settings.ptx_length if job.stage == "ppo" else settings.pretrain_length
    return _pass(job, job.policy, settings.micro_batch_tokens, length, length)


def _score_passes(job: Job, measure: Measure) -> int:
    """The largest forward pass over episodes; only the critic's weights are trained."""
    tokens = job.settings.micro_batch_tokens
    found = []
    networks = [(job.policy, True), (job.scalar, True)]
    if job.stage == "ppo":
        networks.append((job.scalar, False))
    for network, frozen in networks:
        one = _training_pass(job, network, tokens)
        rounded = one.rounded or (one.bf16 and frozen)
        found.append(measure(network, replace(one, keeps="none", frozen=frozen, rounded=rounded)))
    jobs = 2 if job.layout.device == "cpu" and torch.get_num_threads() > 1 else 1
    return jobs * max(found)


def _sync_pass(job: Job, measure: Measure) -> int:
    """The policy's pass to check a new rollout copy; the copying itself gathers as many layers."""
    prompt = job.settings.max_prompt_tokens
    one = _pass(job, job.policy, PARITY_PROMPTS * prompt, prompt, prompt)
    return measure(job.policy, replace(one, keeps="none"))


def rollout_rows(job: Job) -> int:
    """Responses that the cards of one rollout copy sample at the same time."""
    share = -(-job.settings.batch_size * job.settings.ranks_of_a_copy // job.layout.world)
    return int(min(job.settings.rollout_slots, share))


def cache_bytes(job: Job) -> int:
    """The key-value cache at full length, with the spare buffer for moving rows."""
    heads = job.policy.cached_numbers() // job.settings.ranks_of_a_copy
    numbers = heads * job.row * rollout_rows(job)
    return (2 * job.policy.layers + 1) * numbers * (2 if job.settings.bf16 else FP32)


def _served_pass(job: Job, measure: Measure) -> int:
    """The pass that computes the policy's own log-probs of a server's responses."""
    one = _training_pass(job, job.policy, job.settings.micro_batch_tokens)
    return measure(job.policy, replace(one, keeps="none"))


def _rollout_pass(job: Job, measure: Measure) -> int:
    """A prefill, or a draw from the logits of all rows, whichever is larger."""
    prompt = job.settings.max_prompt_tokens
    one = _pass(job, job.policy, PREFILL_TOKENS, prompt, 1)
    one = replace(one, rows=min(one.rows, rollout_rows(job)), checkpointing=False)
    one = replace(one, shards=1, tensor=1)
    copied = job.layout.world > 1
    prefill = replace(
        one, keeps="none", frozen=copied, copy=job.settings.ranks_of_a_copy if copied else 0
    )
    logits = LOGIT_COPIES * FP32 * rollout_rows(job) * job.policy.vocabulary
    return max(measure(job.policy, prefill), logits)
