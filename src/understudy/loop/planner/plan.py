"""`understudy plan`: what a training run needs, before it starts.

    understudy plan --model 6b --stage ppo --cards 8 --nodes 2 --memory 141 --cost 3

Plans what the trainers can do: FSDP2 over cards, replicas, tensor parallelism, activation
checkpointing, rollout copies that cards share, offloading, adapters on one card.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from understudy.loop.planner.advice import advice, need
from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import Job, job_of, trainer_of
from understudy.loop.planner.memory import Phases, host_bytes, peak_of, phases_of
from understudy.loop.planner.networks import FP32
from understudy.loop.planner.passes import local_bytes
from understudy.loop.planner.work import PETAFLOP_DAY, Part, Traffic, traffic_of, work_of
from understudy.loop.recipe import paper_recipe
from understudy.training.config import read_toml

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A planned run."""

    config: PlanConfig
    """The options."""
    job: Job
    """The run to plan."""
    phases: Phases
    """Bytes on a card by phase and holder."""
    work: list[Part]
    """Operations and time of each part of the run."""
    traffic: Traffic
    """Traffic of a training pass."""
    remedy: tuple[list[str], str, int] | None = None
    """If the run does not fit: options with which it does, then its peak phase and bytes."""
    dry: dict[str, tuple[int, int]] | None = None
    """Planned bytes of each network's weights, and those of the dry run."""

    @property
    def limit(self) -> float:
        """Bytes of a card that the run may use."""
        return self.config.memory * GB * self.config.usable

    @property
    def fits(self) -> bool:
        """Whether every phase fits."""
        return peak_of(self.phases)[1] <= self.limit

    @property
    def hours(self) -> float:
        """Hours from start to end, without loading and saving."""
        return sum(part.seconds for part in self.work) / self.job.layout.world / 3600

    @property
    def price(self) -> float | None:
        """Price of all cards for the run."""
        if self.config.cost is None:
            return None
        return self.config.cost * self.job.layout.world * self.hours

    def numbers(self) -> dict[str, Any]:
        """Everything as JSON data; memory in bytes."""
        layout, (phase, peak) = self.job.layout, peak_of(self.phases)
        return {
            "model": self.config.model,
            "stage": self.job.stage,
            "layout": asdict(layout) | {"world": layout.world, "shards": layout.shards},
            "parameters": {
                "policy": self.job.policy.parameters,
                "scalar": self.job.scalar.parameters,
            },
            "bytes": self.phases,
            "peak": {"phase": phase, "bytes": peak},
            "usable_bytes": self.limit,
            "fits": self.fits,
            "host_bytes": host_bytes(self.job),
            "work": [asdict(part) for part in self.work],
            "petaflop_days": sum(part.flops for part in self.work) / PETAFLOP_DAY,
            "petaflop_days_by_rule": sum(part.rule for part in self.work) / PETAFLOP_DAY,
            "hours": self.hours,
            "price": self.price,
            "least_micro_batch_tokens": self.traffic.tokens,
            "traffic": asdict(self.traffic),
            "remedy": None if self.remedy is None else self.remedy[0],
            "dry_run": self.dry,
        }

    def table(self) -> str:
        """The plan in plain text."""
        parts = [self._head(), self._memory(), self._verdict(), self._work()]
        if self.dry is not None:
            rows = [[name, *(f"{count:,}" for count in both)] for name, both in self.dry.items()]
            parts.append(_aligned([["weights on rank 0, bytes", "planned", "dry run"], *rows]))
        return "\n\n".join([*parts, self._next()])

    def _head(self) -> str:
        job, layout = self.job, self.job.layout
        names = f"{job.learner.name} ({_count(job.learner.parameters)} parameters)"
        if job.samples:
            roles = "reward model and critic" if job.stage == "ppo" else "reward model"
            names += f", {roles} {job.scalar.name} ({_count(job.scalar.parameters)})"
        where = f"{layout.nodes} x {layout.cards} cards = {layout.replicas} replicas x "
        where += f"{layout.shards} shards (FSDP2)"
        if layout.tensor > 1:
            where += f" x {layout.tensor} parts of each layer"
        if layout.world == 1:
            where = f"one process ({layout.device}), nothing sharded"
        return f"{job.stage}: {names}\nlayout: {where}"

    def _memory(self) -> str:
        names = list(dict.fromkeys(name for held in self.phases.values() for name in held))
        rows = [["GB per card", *self.phases]]
        for name in names:
            held = [phase.get(name) for phase in self.phases.values()]
            if any(held):
                rows.append([name, *(_gb(one) if one else "" for one in held)])
        rows.append(["in all", *(_gb(sum(held.values())) for held in self.phases.values())])
        return _aligned(rows)

    def _verdict(self) -> str:
        phase, peak = peak_of(self.phases)
        config = self.config
        said = (
            f"peak: {_gb(peak)} GB ({phase}) of {_gb(self.limit)} usable, {config.usable:.0%} of "
        )
        said += f"{config.memory:g}. " + ("It fits." if self.fits else "It does not fit.")
        if config.device == "cuda":
            said += f"\nmain memory of a machine: {_gb(host_bytes(self.job))} GB"
        if self.fits:
            return said
        if self.remedy is not None:
            options, phase, peak = self.remedy
            return f"{said}\nit fits with {' and '.join(options)}: peak {_gb(peak)} GB ({phase})"
        return f"{said}\nno combination of options that was tried fits; use cards with more memory"

    def _work(self) -> str:
        config, world = self.config, self.job.layout.world
        rows = [["work", "M tokens", "EFLOP", "hours"]]
        for part in self.work:
            hours = part.seconds / world / 3600
            rows.append([part.name, f"{part.tokens / 1e6:,.0f}", _flops(part.flops), _hours(hours)])
        flops, rule = (sum(getattr(p, n) for p in self.work) for n in ("flops", "rule"))
        rate = sum(part.tokens for part in self.work) / max(self.hours * 3600, 1e-9)
        lines = [
            _aligned(rows),
            f"in all: {flops / PETAFLOP_DAY:.3g} petaflop/s-days ({rule / PETAFLOP_DAY:.3g} by "
            f"parameters x tokens), {_hours(self.hours)} hours, {rate:,.0f} tokens/s",
            f"assumed: {config.mfu:.0%} of {config.peak_tflops:g} TFLOP/s; rows of full length",
        ]
        if getattr(self.job.settings, "vllm", None) is not None:
            lines.append("the vLLM server's rollouts, and handing weights over, are not counted")
        if self.price is not None:
            lines.append(f"price: {self.price:,.2f} at {config.cost:g} per card and hour")
        if world > 1:
            lines.append(
                f"traffic of a pass: {_gb(self.traffic.bytes)} GB per card, hidden behind its "
                f"computation from micro_batch_tokens {self.traffic.tokens:,} on "
                f"(now {self.job.settings.micro_batch_tokens:,})"
            )
        return "\n".join(lines)

    def _next(self) -> str:
        """The command line of the run."""
        layout, model = self.job.layout, self.config.model
        trainer = trainer_of(self.job.stage)
        words = [trainer, "--model", model]
        recipe = paper_recipe(model)
        if recipe and self.job.stage in read_toml(recipe):
            section = "" if self.job.stage == trainer else f"#{self.job.stage}"
            words = [trainer, "--config", f"{model}{section}", "--model", "FOLDER"]
        elif recipe:
            words = [trainer, "--model", "FOLDER"]
        line = " ".join([*words, "...", *self.config.command])
        if layout.world == 1:
            return f"to run it: understudy {line}"
        more = f" --nodes {layout.nodes} --head HOST:PORT" if layout.nodes > 1 else ""
        return f"to run it: understudy launch --cards {layout.cards}{more} -- {line}"


def make_plan(config: PlanConfig) -> Plan:
    """Plan a run; ValueError if it cannot be planned."""
    job = job_of(config)
    found = Plan(
        config=config,
        job=job,
        phases=phases_of(job),
        work=work_of(job, config),
        traffic=traffic_of(job, config),
        dry=_dry(job) if config.dry_run else None,
    )
    if not found.fits and (better := advice(job, found.limit)) is not None:
        changed, options = better
        phase, _ = peak_of(phases_of(changed))
        found = replace(found, remedy=(options, phase, need(changed, found.limit)))
    if config.json is not None:
        config.json.write_text(json.dumps(found.numbers(), indent=2) + "\n", encoding="utf-8")
    return found


def _dry(job: Job) -> dict[str, tuple[int, int]]:
    networks = [job.learner, *([job.scalar] if job.samples else [])]
    shards, replicas, tensor = job.layout.shards, job.layout.replicas, job.layout.tensor
    found = {
        f"{one.name}{', scalar' if one.scalar else ''}": (
            FP32 * one.numbers(shards, tensor=tensor),
            local_bytes(one, shards, replicas, tensor),
        )
        for one in networks
    }
    frozen = networks if job.samples and job.settings.bf16 and not job.settings.lora_rank else []
    return found | {
        f"{one.name}{', scalar' if one.scalar else ''}, frozen": (
            one.frozen_bytes(shards, tensor, bf16=True),
            local_bytes(one, shards, replicas, tensor, rounded=True),
        )
        for one in frozen
    }


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _gb(count: float) -> str:
    return f"{count / GB:,.2f}" if count < 10 * GB else f"{count / GB:,.1f}"


def _flops(count: float) -> str:
    return f"{count / 1e18:,.2f}" if count < 1e20 else f"{count / 1e18:,.0f}"


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"
