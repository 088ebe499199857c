"""Settings of DPO, with the defaults of Rafailov et al. (2023), appendix B."""

from dataclasses import dataclass
from pathlib import Path

from understudy.training.settings import TrainerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class DPOConfig(TrainerSettings):
    """Train a policy on rankings directly: direct preference optimisation."""

    model: str
    """Folder or hub name of the policy to start from, usually the SFT model; also the reference."""
    data: Path
    """Rankings by training labelers, .jsonl or .parquet."""
    valid_data: Path | None = None
    """Rankings on which loss and accuracy are measured before the first step and after each
    epoch."""
    epochs: int = 1
    """Passes over the rankings (not published)."""
    lr: float = 1e-6
    """Peak learning rate, constant after a linear warmup (B)."""
    warmup_steps: int = 150
    """Steps over which the rate rises from 0 (B), but at most a tenth of the steps."""
    batch_size: int = 64
    """Prompts per step, each with all its pairs (B: 64 pairs)."""
    beta: float = 0.1
    """Coefficient of the KL term that the loss stands for (B); higher stays closer to the
    reference."""
    labeler_weights: Path | None = None
    """JSON object of weights by labeler id; labelers who are not in it have weight 1."""
    group_weights: Path | None = None
    """JSON object with one such object per group, for rankings of prompts that concern the group;
    multiplied by `labeler_weights`. Groups of fewer than five labelers are refused."""
    weight_decay: float = 0.0
    """AdamW's weight decay (B: RMSprop without weight decay)."""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        for name in ("epochs", "lr", "batch_size", "beta"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must not be negative")
