"""Settings of `understudy reward-check`."""

from dataclasses import dataclass
from pathlib import Path

RULES = ("auto", "longer", "shorter")


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardCheckConfig:
    """Measure a reward model on rankings that it was not trained on."""

    model: Path
    """Folder of the reward model."""
    data: Path
    """Rankings, by any labelers."""
    out: Path | None = None
    """JSON file for the figures, besides the printed table."""
    labelers: Path | None = None
    """The labelers with their groups (LabelerInfo records), for accuracy by group of labelers and
    by group that the prompt concerns, where at least five labelers of the group ranked."""
    length_rule: str = "auto"
    """Which response the length rule prefers: "longer", "shorter", or "auto": the one that fitted
    the model's training pairs (its run's results.json), else the one that fits `data`."""
    max_prompt_tokens: int = 1024
    """Rankings with a longer prompt are dropped."""
    max_response_tokens: int = 1024
    """Longer responses are cut."""
    micro_batch_tokens: int = 4096
    """Most padded tokens in one pass; changes memory and speed, not the result."""
    device: str = "auto"
    """Where to compute: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""

    def __post_init__(self) -> None:
        if self.length_rule not in RULES:
            raise ValueError(f"length_rule is {self.length_rule!r}; it must be one of {RULES}")
        if self.micro_batch_tokens <= 0:
            raise ValueError(f"micro_batch_tokens is {self.micro_batch_tokens}; it must be above 0")
