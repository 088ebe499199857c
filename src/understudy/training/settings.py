"""The settings that all trainers share. Reading and checking them loads no PyTorch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from understudy.training.config import to_plain
from understudy.training.folder import refuse_used
from understudy.training.origin import check_input
from understudy.training.track import TrackerName

if TYPE_CHECKING:
    from understudy.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerSettings:
    """Fields of every trainer's config."""

    out: Path
    """Run folder; the model is at out/model."""
    max_grad_norm: float | None = 1.0
    """Clip each network's gradient norm to this (not published); none does not clip."""
    max_prompt_tokens: int = 1024
    """Records with a longer prompt are dropped (C)."""
    max_response_tokens: int = 1024
    """Longest response; longer ones in the data are cut (C)."""
    micro_batch_tokens: int = 4096
    """Most padded tokens in one pass; changes memory and speed, not the result."""
    save_every: int = 0
    """Steps (iterations, for trainers that sample) between checkpoints; 0 saves so often that
    saving takes a tenth of the time."""
    keep_checkpoints: bool = False
    """Keep the checkpoints when the run is finished."""
    device: str = "auto"
    """Where to train: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16; weights, optimiser and the saved model stay in fp32 (C: half precision with
    fp32 master weights). Layers that do not learn are stored in bf16."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, one more forward pass."""
    lora_rank: int = 0
    """Train LoRA adapters of this rank beside every linear map, with frozen weights; 0 trains all
    weights."""
    lora_alpha: float | None = None
    """Scale of the adapters, whose products are multiplied by alpha / rank; none means twice the
    rank."""
    replicas: int = 1
    """Number of groups of processes; each group holds all weights, sharded over its processes.
    Changes memory and traffic, not the result."""
    tensor_parallel: int = 1
    """Number of neighbouring processes that split each layer and compute the same passes. Changes
    memory and traffic, not the result."""
    tensorboard: bool = False
    """Also write the metrics for TensorBoard, into out/tensorboard."""
    track: TrackerName | None = None
    """Also log the metrics to a tracker: trackio, wandb or mlflow; the tracker's own environment
    variables decide where it writes."""
    seed: int = 0
    """Seed of data order, initial weights of new parts, dropout and sampling."""
    resume: bool = False
    """Continue the run in `out`."""
    overwrite: bool = False
    """Remove the run in `out` first."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is {self.lora_rank}; it must be 0 (none) or above")
        if self.lora_alpha is not None and self.lora_alpha <= 0:
            raise ValueError(f"lora_alpha is {self.lora_alpha}; it must be above 0, or none")
        if self.lora_alpha is not None and self.lora_rank == 0:
            raise ValueError(
                f"lora_alpha is {self.lora_alpha} but lora_rank is 0, so it would not be used; "
                "give a lora_rank such as 16"
            )
        for name in ("max_prompt_tokens", "max_response_tokens", "micro_batch_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("replicas", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.save_every < 0:
            raise ValueError(f"save_every is {self.save_every}; it must not be negative")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}; it must be above 0, or none")


def prepare_trainer_run(stage: str, config: TrainerSettings, inputs: Sequence[str]) -> "Run":
    """`prepare_run` for a trainer; `inputs` are the fields that name files, folders or models.

    Ranks started by a launcher join here. ValueError for settings that several ranks do not
    support.
    """
    from understudy.training.opening import prepare_run
    from understudy.training.ranks import join_ranks

    ranks = join_ranks(replicas=config.replicas, tensor=config.tensor_parallel)
    with ranks.together():
        if ranks.world > 1 and config.lora_rank:
            raise ValueError(
                f"lora_rank is {config.lora_rank}, but adapters train in one process only; start "
                "this without the launcher, or with lora_rank 0"
            )
    return prepare_run(
        config.out,
        stage=stage,
        config=config,
        inputs=dict(_named_inputs(config, inputs)),
        seed=config.seed,
        resume=config.resume,
        overwrite=config.overwrite,
        ranks=ranks,
    )


def check_address(name: str, url: str | None) -> None:
    """ValueError unless the setting `name` is none or http(s)://HOST[:PORT]."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port, or half an IPv6 address
        good = None
    if not good or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{name} is {url!r}; it must be an address like http://127.0.0.1:8000")


def check_files(config: Any) -> None:
    """ValueError if a file or folder that a command reads does not exist.

    Loads no PyTorch, so that a mistyped path is refused at once.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and field.name != "out":
                check_input(path)


def check_out(stage: str, config: Any) -> None:
    """ValueError, the same as on opening it, if the folder `out` is in use and would not be
    overwritten. Loads no PyTorch."""
    if not config.overwrite:
        resume = getattr(config, "resume", False)
        refuse_used(Path(config.out), stage, to_plain(config), resume, overwrite=False)


def _named_inputs(
    config: TrainerSettings, inputs: Sequence[str]
) -> Iterator[tuple[str, str | Path | None]]:
    """Inputs by name; those of a field that holds several are numbered."""
    for name in inputs:
        value = getattr(config, name)
        if not isinstance(value, tuple):
            yield name, value
            continue
        for number, path in enumerate(value, start=1):
            yield f"{name}_{number}", path
