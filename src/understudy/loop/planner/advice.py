"""Finds changes that make a run fit, by planning the run again with each."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from understudy.loop.planner.job import Job
from understudy.loop.planner.memory import peak_of, phases_of
from understudy.models.splitting import check_split

MOST_CARDS = 1024
"""Most cards that are tried."""
CARDS_OF_A_MACHINE = 8
"""Most cards in a machine; beyond that, machines are added."""
LORA_RANK = 16
"""Rank of the adapters that are tried."""
LEAST_SLOTS = 16
"""Fewest responses side by side that are tried."""

Change = tuple[Job, str]
"""A changed run, and the options that change it."""


def advice(job: Job, limit: float) -> tuple[Job, list[str]] | None:
    """(changed run, changed options): the first single change with which the run fits in `limit`
    bytes, or else several together; None if all together are not enough."""
    for kind in _KINDS:
        for changed, option in kind(job):
            if need(changed, limit) <= limit:
                return changed, [option]
    options: list[str] = []
    for kind in _KINDS:
        before = need(job, limit)
        found = [(need(changed, limit), changed, option) for changed, option in kind(job)]
        enough = [one for one in found if one[0] <= limit]
        best = enough[0] if enough else min(found, key=lambda one: one[0], default=None)
        if best is not None and best[0] < before:
            job, options = best[1], [*options, best[2]]
        if enough:
            return job, options
    return None


def need(job: Job, limit: float) -> int:
    """Bytes at the peak. A run that exceeds `limit` even without its passes is not measured
    further: the bytes then exclude the passes, which take long to measure."""
    least = peak_of(phases_of(job, lambda network, one: 0))[1]
    return least if least > limit else peak_of(phases_of(job))[1]


def _replicas(job: Job) -> Iterator[Change]:
    if job.layout.replicas > 1:
        changed = replace(job, layout=replace(job.layout, replicas=1))
        yield _with(changed, replicas=1), "-- --replicas 1"


def _checkpointing(job: Job) -> Iterator[Change]:
    if not job.settings.activation_checkpointing:
        yield _with(job, activation_checkpointing=True), "-- --activation-checkpointing"


def _micro_batches(job: Job) -> Iterator[Change]:
    yield from _halved(job, "micro_batch_tokens", job.row)


def _slots(job: Job) -> Iterator[Change]:
    if job.samples:
        yield from _halved(job, "rollout_slots", LEAST_SLOTS)


def _rollout_ranks(job: Job) -> Iterator[Change]:
    """Let cards of a machine share a rollout copy."""
    sharing = 2 * job.settings.rollout_ranks if job.samples else job.layout.cards + 1
    while sharing <= job.layout.cards and job.layout.world % sharing == 0:
        with suppress(ValueError):
            check_split(job.policy.config, sharing, "rollout_ranks")
            yield _with(job, rollout_ranks=sharing), f"-- --rollout-ranks {sharing}"
        sharing *= 2


def _offload(job: Job) -> Iterator[Change]:
    if job.samples and not job.settings.cpu_offload and job.layout.device == "cuda":
        yield _with(job, cpu_offload=True), "-- --cpu-offload"


def _tensor(job: Job) -> Iterator[Change]:
    """Split layers over cards of a machine."""
    layout, networks = job.layout, (job.policy, job.scalar)
    tensor = 2 * layout.tensor
    while tensor <= layout.cards and layout.world % (layout.replicas * tensor) == 0:
        with suppress(ValueError):
            for network in networks:
                check_split(network.config, tensor, "tensor_parallel")
            changed = replace(job, layout=replace(layout, tensor=tensor))
            more = {"rollout_ranks": 1} if job.samples else {}
            yield _with(changed, tensor_parallel=tensor, **more), f"-- --tensor-parallel {tensor}"
        tensor *= 2


def _more_cards(job: Job) -> Iterator[Change]:
    layout = job.layout
    while layout.device == "cuda" and layout.world * 2 <= MOST_CARDS and not job.settings.lora_rank:
        if layout.nodes == 1 and layout.cards * 2 <= CARDS_OF_A_MACHINE:
            layout = replace(layout, cards=layout.cards * 2)
        else:
            layout = replace(layout, nodes=layout.nodes * 2)
        nodes = f" --nodes {layout.nodes}" if layout.nodes > 1 else ""
        yield replace(job, layout=layout), f"--cards {layout.cards}{nodes}"


def _adapters(job: Job) -> Iterator[Change]:
    if job.layout.world == 1 and not job.settings.lora_rank:
        yield _with(job, lora_rank=LORA_RANK), f"-- --lora-rank {LORA_RANK}"


_KINDS: tuple[Callable[[Job], Iterator[Change]], ...] = (
    *(_replicas, _checkpointing, _micro_batches, _slots, _rollout_ranks, _offload),
    *(_tensor, _more_cards, _adapters),
)
"""Kinds of change; those that change no result and need no other machine come first."""


def _halved(job: Job, name: str, least: int) -> Iterator[Change]:
    value = getattr(job.settings, name) // 2
    while value >= least:
        yield _with(job, **{name: value}), f"-- --{name.replace('_', '-')} {value}"
        value //= 2


def _with(job: Job, **values: Any) -> Job:
    settings = replace(job.settings, **values)
    policy, scalar = (replace(one, lora=settings) for one in (job.policy, job.scalar))
    if "lora_rank" not in values:
        policy, scalar = job.policy, job.scalar
    return replace(job, settings=settings, policy=policy, scalar=scalar)
