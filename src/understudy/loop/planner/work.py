"""Operations, hours and traffic of a run.

Prompts and responses are taken to be as long as the settings allow, so hours are an upper bound.
`Part.rule` counts as the paper does: per parameter and token, two operations in a forward pass and
six in a training pass (Brown et al. 2020, appendix D).
"""

from dataclasses import dataclass

from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import Job
from understudy.loop.planner.memory import cache_bytes, copy_bytes, rollout_rows, shared_row
from understudy.loop.planner.networks import FP32, Network

DECODE_SHARE = 0.5
"""Share of the memory bandwidth that a decode step reaches (an assumption)."""
SUM_SECONDS = 2e-5
"""Latency of a sum over cards (an assumption)."""
PETAFLOP_DAY = 1e15 * 86_400
"""Operations in a petaflop/s-day."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run's work."""

    name: str
    """What is computed."""
    tokens: int
    """Tokens processed."""
    flops: int
    """Operations of matrix products, including attention, excluding recomputation."""
    rule: int
    """Operations by the paper's rule, from parameters and tokens."""
    seconds: float
    """Time in card-seconds, summed over all cards."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a training pass sends between cards."""

    bytes: int
    """Bytes that a card receives for gathered weights and summed gradients."""
    seconds: float
    """Time that they take on the links."""
    tokens: int
    """Tokens per pass and card whose computation takes as long as the traffic."""


def traffic_of(job: Job, config: PlanConfig) -> Traffic:
    """Traffic of a training pass. Even with bf16, weights are gathered and gradients summed in
    fp32. Layers are gathered twice and the other weights once; each gradient is summed once."""
    layout, network = job.layout, job.learner
    rest, tensor = network.parameters - network.in_blocks, layout.tensor
    layers = network.numbers(tensor=tensor) - rest
    share = (layout.shards - 1) / layout.shards
    within = round(FP32 * (3 * layers + 2 * rest) * share)
    link = config.card_gbs if layout.shards * tensor <= layout.cards else config.node_gbs
    seconds = within / (link * 1e9)
    copies = (layout.replicas - 1) / layout.replicas
    across = round(2 * FP32 * network.numbers(layout.shards, tensor=tensor) * copies)
    seconds += across / ((config.node_gbs if layout.nodes > 1 else config.card_gbs) * 1e9)
    per_token = 6 * network.parameters
    if job.settings.activation_checkpointing:
        per_token += 2 * network.in_blocks
    return Traffic(within + across, seconds, -(-int(seconds * tensor * _rate(config)) // per_token))


def _rate(config: PlanConfig) -> float:
    """Operations per second that a card reaches."""
    return config.peak_tflops * 1e12 * config.mfu


@dataclass(frozen=True, slots=True)
class _Clock:
    job: Job
    config: PlanConfig
    wait: float
    """Time of a training pass divided by its computation's; 1 if computation hides the traffic."""

    def trained(self, name: str, network: Network, rows: int, length: int, reads: int) -> Part:
        """Forward and backward passes over rows."""
        forward, tokens = network.flops(length, reads), rows * length
        again = forward if self.job.settings.activation_checkpointing else 0
        seconds = rows * (3 * forward + again) * self.wait / _rate(self.config)
        seconds += self._sums(network, tokens, 4 if again else 3)
        rule = 6 * network.parameters * tokens
        return Part(name, tokens, 3 * rows * forward, rule, seconds)

    def read(self, name: str, network: Network, rows: int, length: int, reads: int) -> Part:
        """Forward passes over rows."""
        flops, tokens = rows * network.flops(length, reads), rows * length
        rule = 2 * network.parameters * tokens
        seconds = flops / _rate(self.config) + self._sums(network, tokens, 1)
        return Part(name, tokens, flops, rule, seconds)

    def _sums(self, network: Network, tokens: int, passes: int) -> float:
        """Card-seconds to sum the activations of split layers: two sums in a forward pass, and at
        most five in a backward pass, which counts as two passes."""
        layout = self.job.layout
        if layout.tensor == 1:
            return 0.0
        link = self.config.card_gbs if layout.tensor <= layout.cards else self.config.node_gbs
        size = 2 if self.job.settings.bf16 else FP32
        sent = 2 * tokens * int(network.config.hidden_size) * size
        return passes * 2.5 * network.layers * sent * layout.tensor / (link * 1e9)


def work_of(job: Job, config: PlanConfig) -> list[Part]:
    """The parts of a run's work, in order."""
    settings, traffic = job.settings, traffic_of(job, config)
    wait = max(1.0, traffic.tokens / _pass_tokens(job))
    clock = _Clock(job, config, wait)
    response = settings.max_response_tokens
    if job.samples:
        return _sampling(job, config, clock)
    rows = job.examples * settings.epochs
    if job.stage in ("sft", "rl_init"):
        parts = [clock.trained("demonstrations", job.policy, rows, job.row, response)]
        if job.with_text:
            fraction, length = settings.pretrain_fraction, settings.pretrain_length
            text = max(1, round(settings.batch_size * fraction / (1 - fraction)))
            steps = -(-job.examples // settings.batch_size) * settings.epochs
            parts.append(clock.trained("text", job.policy, steps * text, length, length))
        return parts
    if job.stage == "reward":
        if shared := shared_row(job):
            return [clock.trained("rankings", job.scalar, rows, shared, job.responses)]
        return [clock.trained("rankings", job.scalar, rows * job.responses, job.row, 1)]
    if job.stage == "kto":  # the reference point: each response again, after another prompt
        return [
            clock.read("reference", job.policy, job.examples + rows, job.row, response),
            clock.read("reference point", job.policy, rows, job.row, response),
            clock.trained("responses", job.policy, rows, job.row, response),
        ]
    every = rows * job.responses
    reference = clock.read("reference", job.policy, every // settings.epochs, job.row, response)
    return [reference, clock.trained("rankings", job.policy, every, job.row, response)]


def _pass_tokens(job: Job) -> int:
    """Tokens of a training pass on each card."""
    row = job.row
    if job.stage == "reward":
        row = shared_row(job) or job.responses * job.row
    return max(1, job.settings.micro_batch_tokens // row) * row


def _sampling(job: Job, config: PlanConfig, clock: _Clock) -> list[Part]:
    settings, policy, scalar = job.settings, job.policy, job.scalar
    response, rows = settings.max_response_tokens, settings.num_iterations * settings.batch_size
    if settings.vllm is None:
        flops, tokens = rows * policy.flops(job.row, response), rows * job.row
        seconds = settings.num_iterations * _rollout_seconds(job, config) * job.layout.world
        sampled = Part("rollouts", tokens, flops, 2 * policy.parameters * tokens, seconds)
    else:
        sampled = clock.read("log-probs", policy, rows, job.row, response)
    again = settings.num_iterations * settings.num_learned * settings.inner_epochs
    parts = [
        sampled,
        clock.read("reference", policy, rows, job.row, response),
        clock.read("reward model", scalar, rows, job.row, 1),
    ]
    learned = clock.trained("policy", policy, again, job.row, response)
    if job.stage != "ppo":
        return [*parts, learned]
    parts += [
        clock.read("values", scalar, rows, job.row, response),
        learned,
        clock.trained("critic", scalar, again, job.row, response),
    ]
    if job.with_text:
        steps = settings.num_iterations * settings.inner_epochs * settings.num_minibatches
        length = settings.ptx_length
        parts.append(clock.trained("text", policy, steps * settings.ptx_rows, length, length))
    return parts


def _rollout_seconds(job: Job, config: PlanConfig) -> float:
    """Seconds of an iteration's rollouts: the weights are gathered, then each decode step reads
    the copy's weights and, on average, half of a full cache."""
    settings, layout = job.settings, job.layout
    rows, sharing = rollout_rows(job), settings.ranks_of_a_copy
    waves = -(-settings.batch_size * sharing // (layout.world * rows))
    weights = FP32 * job.policy.parameters
    bandwidth = config.memory_tbs * 1e12 * DECODE_SHARE
    read = weights * (2 if settings.bf16 else 1) if layout.world == 1 else copy_bytes(job)
    step = (read + cache_bytes(job) / 2) / bandwidth
    sync = 0.0
    if layout.world > 1:
        inside = layout.shards * layout.tensor <= layout.cards
        link = config.card_gbs if inside else config.node_gbs
        sync = FP32 * job.policy.numbers(tensor=layout.tensor) / (link * 1e9)
    if sharing > 1:  # each layer sums activations twice
        link = config.card_gbs if sharing <= layout.cards else config.node_gbs
        sent = 2 * rows * int(job.policy.config.hidden_size) * (2 if settings.bf16 else FP32)
        step += 2 * job.policy.layers * (SUM_SECONDS + sent / (link * 1e9))
    prompts = rows * job.policy.flops(settings.max_prompt_tokens, 1) / sharing / _rate(config)
    return sync + waves * (settings.max_response_tokens * step + prompts)
