"""Settings of the reward model, with the paper's values as defaults."""

from dataclasses import dataclass
from pathlib import Path

from understudy.training.settings import TrainerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig(TrainerSettings):
    """Train a reward model on rankings (s3.5, C.2)."""

    model: str
    """Folder or hub name of the causal language model to start from, usually the SFT model."""
    data: Path
    """Rankings by training labelers, .jsonl or .parquet."""
    valid_data: Path | None = None
    """Rankings to measure accuracy on, by training and held-out labelers."""
    demonstrations: Path | None = None
    """Demonstrations whose mean score is shifted to 0 (s3.5); without them scores are not
    shifted."""
    epochs: int = 1
    """Passes over the rankings (C.2: more than one overfits)."""
    lr: float = 9e-6
    """Peak learning rate, cosine to a tenth (C.2)."""
    batch_size: int = 64
    """Prompts per step, each with all its pairs (C.2)."""
    ties: str = "drop"
    """"drop" leaves tied pairs out (s3.5); "model" learns that they are close (Rao-Kupper)."""
    tie_width: float = 0.5
    """Half-width, in units of score, within which a tie is likely; used when ties = "model"."""
    margin: float = 0.0
    """Margin by which the better response's score must lead, per tier of difference, or per point
    where rankings have `scores`; 0 as in the paper."""
    labeler_weights: Path | None = None
    """JSON object of weights by labeler id; labelers who are not in it have weight 1."""
    group_weights: Path | None = None
    """JSON object with one such object per group, for rankings of prompts that concern the group;
    multiplied by `labeler_weights`. Groups of fewer than five labelers are refused."""
    ensemble: int = 1
    """Number of models to train on the same rankings with different seeds (heads and orders):
    out/model and out/ensemble/member-1, ...; results.json says how well they agree."""
    folds: int = 0
    """Number of groups for cross-validation over labelers (s4.1: 5), one training run each; 0 for
    none."""
    weight_decay: float = 0.0
    """AdamW's weight decay (not published)."""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        for name in ("epochs", "lr", "batch_size", "tie_width"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.margin < 0:
            raise ValueError(f"margin is {self.margin}; it must not be negative")
        if self.ensemble < 1:
            raise ValueError(f"ensemble is {self.ensemble}; it must be at least 1 model")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds is {self.folds}; it must be 0, or at least 2 groups")
        weights = [
            name for name in ("labeler_weights", "group_weights") if getattr(self, name) is not None
        ]
        if self.folds and weights:
            raise ValueError(
                f"folds do not take {weights[0]}, since each fold lacks some of the labelers; "
                "measure the folds in a separate run, without weights"
            )
        if self.ties not in ("drop", "model"):
            raise ValueError(f'ties is {self.ties!r}; it must be "drop" or "model"')
