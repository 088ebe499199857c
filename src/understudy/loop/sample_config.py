"""Settings of `understudy sample`."""

from dataclasses import dataclass
from pathlib import Path

from understudy.training.settings import check_address, check_files


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """Draw several responses per prompt, for labelers to rank."""

    model: str
    """Model folder, run folder or hub name."""
    prompts: Path | None = None
    """Prompts, .jsonl or .parquet."""
    out: Path | None = None
    """The responses, .jsonl or .parquet; in the prompts' order, grouped by prompt."""
    project: Path | None = None
    """Instead of files: a project's folder. Prompts that intake kept come from its store, and the
    responses are added to it. To have several models ranked together, run it once per model."""
    split: str | None = None
    """Only prompts of this split: train, valid or test."""
    min_answers: int = 4
    """Fewest responses drawn per prompt (s3.5: K = 4 to 9)."""
    max_answers: int = 9
    """Most responses drawn per prompt (s3.5)."""
    temperature: float = 1.0
    """Sampling temperature (not published for step 2; 1 as in the rollouts, C.4)."""
    max_response_tokens: int = 1024
    """Longest response, in tokens (C); shorter if the model's context leaves less room."""
    name: str | None = None
    """The model's name in the records; default: the folder's name."""
    keep_identical: bool = False
    """Keep responses that repeat another to the same prompt."""
    max_prompt_tokens: int = 1024
    """Longer prompts are dropped and counted (C)."""
    device: str = "auto"
    """Where to compute: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""
    vllm: str | None = None
    """Address of a vLLM server that samples instead of this process, like http://127.0.0.1:8000."""
    seed: int = 0
    """Seed of the sampling and of each prompt's K."""
    overwrite: bool = False
    """Replace the file `out`."""

    def __post_init__(self) -> None:
        files = [self.prompts, self.out]
        if (None in files) if self.project is None else (files != [None, None]):
            raise ValueError("sample needs --prompts and --out, or --project instead of both")
        if not 1 <= self.min_answers <= self.max_answers:
            raise ValueError(
                f"min_answers is {self.min_answers} and max_answers {self.max_answers}; "
                "they must be at least 1 and in this order"
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")
        check_address("vllm", self.vllm)
        if self.vllm is not None and (self.bf16 or self.device != "auto"):
            raise ValueError("vllm samples on its own server; leave out bf16 and device")


def check_sample_files(config: SampleConfig) -> None:
    """ValueError if an input is missing, or if `out` exists and `overwrite` is not set.

    Loads no PyTorch, so that both errors appear at once.
    """
    check_files(config)
    if config.out is None:
        return
    if config.out.is_dir():
        raise ValueError(
            f"{config.out} is a folder; name a file, as in {config.out}/responses.jsonl"
        )
    if config.out.exists() and not config.overwrite:
        raise ValueError(f"{config.out} exists; pass --overwrite or choose another --out")
