"""Settings of `understudy benchmark`."""

from dataclasses import dataclass
from pathlib import Path

from understudy.evaluation.config import model_folders


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """Run public benchmarks on several models."""

    models: tuple[str, ...]
    """Models as name=folder; base, sft, ppo and ppo_ptx appear beside the paper's models."""
    out: Path
    """Run folder."""
    tasks: tuple[str, ...] = ("paper",)
    """"paper" (App. D), or names of lm-evaluation-harness's tasks."""
    data_dir: Path | None = None
    """Folder with a file per data set (see docs/benchmarks.md); by default, rows come from the
    hub."""
    limit: int | None = None
    """At most this many items per task, evenly spaced over its rows."""
    few_shot: bool = False
    """Give the paper's number of few-shot examples, from the training rows (App. D)."""
    baseline: str | None = None
    """Model that the others are compared with; the first of `models` without it."""
    toxicity: str = "profanity-check"
    """Toxicity scorer: profanity-check, perspective, or a Hugging Face classifier."""
    chat: bool = False
    """Put each item into the model's chat template; the paper's formats are plain text."""
    batch_tokens: int = 8192
    """Most tokens in one pass."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""
    seed: int = 0
    """Seed of the sampling, for tasks that sample."""
    resume: bool = False
    """Continue the run in `out`."""
    overwrite: bool = False
    """Remove the run in `out` first."""

    def __post_init__(self) -> None:
        folders = model_folders(self.models)
        if self.baseline is not None and self.baseline not in folders:
            raise ValueError(
                f"baseline {self.baseline!r} is not among the models ({', '.join(folders)})"
            )
        if not self.tasks:
            raise ValueError("tasks is empty; give --tasks paper, or names of tasks")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1")
        if self.batch_tokens < 1:
            raise ValueError(f"batch_tokens is {self.batch_tokens}; it must be at least 1")
