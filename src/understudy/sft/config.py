"""Settings of supervised fine-tuning, with the paper's values as defaults."""

from dataclasses import dataclass
from pathlib import Path

from understudy.training.settings import TrainerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig(TrainerSettings):
    """Fine-tune a causal language model on demonstrations (s3.5, C.1)."""

    model: str
    """Folder or hub name of the causal language model to start from."""
    data: Path
    """Demonstrations, .jsonl or .parquet."""
    valid_data: Path | None = None
    """Demonstrations to measure on after each epoch; without it the last epoch is kept."""
    reward_model: Path | None = None
    """Reward model whose mean score on `valid_data` chooses the epoch (s3.5) instead of the
    loss."""
    epochs: int = 16
    """Passes over the demonstrations (s3.5); 2 for the model that RL starts from (C.3)."""
    lr: float = 9.65e-6
    """Peak learning rate, cosine to a tenth, no warmup (C.1, for 1.3B and 6B)."""
    batch_size: int = 32
    """Demonstrations per step (C.1)."""
    dropout: float = 0.2
    """Residual dropout (C.1)."""
    pretrain_data: Path | None = None
    """Plain text (.txt or .jsonl) to mix in, or a folder of `understudy text pack`."""
    pretrain_fraction: float = 0.0
    """Share of the loss and of the rows that is pretraining text; 0.1 for RL's start (C.3)."""
    pretrain_length: int = 256
    """Tokens in a row of pretraining text (not published)."""
    weight_decay: float = 0.0
    """AdamW's weight decay (not published)."""
    score_prompts: int = 256
    """Prompts of `valid_data` for which responses are scored after each epoch."""
    score_temperature: float = 1.0
    """Sampling temperature of those responses, as in rollouts (C.4)."""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        for name in ("epochs", "lr", "batch_size", "pretrain_length"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.pretrain_fraction < 1:
            raise ValueError(f"pretrain_fraction is {self.pretrain_fraction}; it must be in [0, 1)")
        if (self.pretrain_fraction > 0) != (self.pretrain_data is not None):
            raise ValueError(
                "pretrain_fraction and pretrain_data need each other; give both or none"
            )
        if self.reward_model is not None and self.valid_data is None:
            raise ValueError(
                "reward_model chooses the epoch by its score on valid_data; give valid_data"
            )
