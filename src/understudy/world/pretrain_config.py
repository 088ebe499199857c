"""Settings of `understudy world pretrain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.world.world import WEB_SEED

Size = Literal["200k", "1m", "3m", "12m", "50m"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """Pretrain a base model. No setting is from the paper, which starts from GPT-3."""

    out: Path
    """Run folder; the model goes to `out/model`."""
    size: Size = "1m"
    """Shape of the model: about this many parameters."""
    tokens: int = 5_000_000
    """Tokens read, each once."""
    row_length: int = 128
    """Tokens in a packed row."""
    batch_rows: int = 16
    """Rows in a batch."""
    lr: float = 3e-3
    """Peak learning rate of AdamW (embeddings and norms): linear warmup, constant to the middle,
    then linear to a tenth."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon (the layers' matrices), on the same schedule."""
    warmup_steps: int = 100
    """Steps of linear warmup."""
    start_from: Path | None = None
    """Base model to continue from, on pages it has not read; none starts from scratch."""
    web_seed: int = WEB_SEED
    """Which pages of the web are read; a continued model needs a new seed."""
    copy_share: float = 0.6
    """Share of dictation pages in the first fifth of training."""
    seed: int = 0
    """Seed of the initial weights."""
    eval_every: int = 500
    """Steps between measurements and checkpoints."""
    device: str = "cpu"
    """Torch device; "cuda" for the larger sizes."""
    resume: bool = False
    """Continue an interrupted run in `out`."""
    overwrite: bool = False
    """Replace a run in `out`."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"tokens = {self.tokens} is less than one batch; give more")

    @property
    def num_steps(self) -> int:
        return self.tokens // (self.batch_rows * self.row_length)

    def lr_multiplier(self, step: int) -> float:
        """Warmup, plateau, then linear decay to a tenth over the second half."""
        half = self.num_steps / 2
        decay = 1.0 if step < half else 1.0 - 0.9 * (step - half) / half
        return min(1.0, (step + 1) / self.warmup_steps) * decay
