"""The options of `understudy plan`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from understudy.loop.recipe import PAPER_SIZES, paper_recipe

if TYPE_CHECKING:
    from understudy.loop.planner.plan import Plan

Stage = Literal["sft", "rl_init", "reward", "ppo", "rloo", "grpo", "raft", "dpo", "kto"]
SAMPLING = ("ppo", "rloo", "grpo", "raft")
"""Stages that sample from the policy and score with a reward model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """Compute what a training run needs before it starts."""

    model: str
    """Folder of the model to train, or a size of the paper: 1.3b, 6b, 175b, whose recipe then gives
    the trainer's settings."""
    stage: Stage = "sft"
    """What to plan; rl_init is the SFT that RL starts from (C.3)."""
    memory: float
    """Memory of a card in GB (10^9 bytes)."""
    cards: int = 1
    """Cards in each machine."""
    nodes: int = 1
    """Number of machines."""
    command: tyro.conf.Positional[tuple[str, ...]] = ()
    """Settings of the trainer, after --: -- --bf16 --micro-batch-tokens 2048."""
    reward_model: str | None = None
    """The reward model of ppo, rloo, grpo and raft, a folder or size; none means the paper's 6B if
    `model` is a size, and one of the policy's size if it is a folder."""
    examples: int | None = None
    """Demonstrations or rankings in the training data, or judged responses (kto); none means the
    paper's number (Table 6), which for kto is the number of ranked responses."""
    responses: int = 9
    """Responses per ranking (s3.5: 4 to 9)."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Kind of card; cpu plans one process on a machine with `memory` in all."""
    usable: float = 0.88
    """Share of the memory that a plan may fill; the rest is for the CUDA context, communication
    buffers and fragmentation (an assumption)."""
    mfu: float = 0.3
    """Share of the peak rate that training reaches (an assumption)."""
    peak_tflops: float = 989.0
    """Peak rate of a card; an H100's or H200's dense bf16 rate."""
    memory_tbs: float = 3.35
    """Memory bandwidth of a card in TB/s; an H100's."""
    card_gbs: float = 400.0
    """Bandwidth between the cards of a machine in GB/s, one way; NVLink's."""
    node_gbs: float = 50.0
    """Bandwidth between machines, per card, in GB/s, one way."""
    cost: float | None = None
    """Price of a card per hour; none prints no price."""
    dry_run: bool = False
    """Check the planned bytes of weights: also shard the networks on as many ranks, without
    storage, and compare."""
    json: Path | None = None
    """File to write the plan's numbers to."""

    def __post_init__(self) -> None:
        positive = ("memory", "cards", "nodes", "peak_tflops", "memory_tbs", "card_gbs", "node_gbs")
        for name in (*positive, "responses"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("usable", "mfu"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in (0, 1]")
        if self.reward_model is not None and self.stage not in SAMPLING:
            raise ValueError(f"reward_model is for {', '.join(SAMPLING)}; {self.stage} has none")
        if self.device == "cpu" and self.nodes * self.cards > 1:
            raise ValueError("device cpu plans one process; leave out nodes and cards")
        if self.cost is not None and self.cost < 0:
            raise ValueError(f"cost is {self.cost}; it must not be negative")
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"examples is {self.examples}; it must be at least 1")


def plan(config: PlanConfig) -> "Plan":
    """Plan a run; ValueError if it cannot be planned."""
    for name in (config.model, config.reward_model):
        if name is not None and paper_recipe(name) is None and not Path(name).is_dir():
            sizes = ", ".join(PAPER_SIZES)
            raise ValueError(f"{name} is neither a model folder nor a size ({sizes})")
    from understudy.loop.planner.plan import make_plan  # imports torch

    return make_plan(config)
