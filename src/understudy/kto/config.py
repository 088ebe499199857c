"""Settings of KTO, with the defaults of Ethayarajh et al. (2024), section 4.2."""

from dataclasses import dataclass
from pathlib import Path

from understudy.training.settings import TrainerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class KTOConfig(TrainerSettings):
    """Train a policy on thumbs up and down: Kahneman-Tversky optimisation."""

    model: str
    """Folder or hub name of the policy to start from, usually the SFT model; also the reference."""
    data: Path
    """Feedback by training labelers or users, .jsonl or .parquet: responses, desirable or not; or
    rankings."""
    valid_data: Path | None = None
    """Feedback on which loss and accuracy are measured before the first step and after each
    epoch."""
    epochs: int = 1
    """Passes over the responses (4.2)."""
    lr: float = 5e-6
    """Peak learning rate, constant after a linear warmup (4.2: 2 to 10 times DPO's)."""
    warmup_steps: int = 150
    """Steps over which the rate rises from 0 (the authors' code), but at most a tenth of the
    steps."""
    batch_size: int = 32
    """Responses per step (4.2); at least 2, since the reference point pairs them."""
    beta: float = 0.1
    """How fast the value saturates around the reference point (4.2); higher stays closer to the
    reference."""
    desirable_weight: float = 1.0
    """Weight of desirable responses in the loss, lambda_D (4.2)."""
    undesirable_weight: float = 1.0
    """Weight of undesirable responses in the loss, lambda_U (4.2)."""
    weight_decay: float = 0.0
    """AdamW's weight decay (not published)."""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        for name in ("epochs", "lr", "beta", "desirable_weight", "undesirable_weight"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be at least 2, since the reference "
                "point is estimated on responses to other prompts of the batch"
            )
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must not be negative")
