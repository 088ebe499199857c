"""LoRA (Hu et al. 2021): small trained products beside frozen linear maps, through `peft`.

An adapter is added in place, so forward passes, sampling and losses need no change. With the
adapter off, the model is the original: PPO's reference, without a second copy. Every function here
leaves a model without an adapter unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from understudy.models.sharding import fill, is_sharded

_NAME = "default"


class LoraOptions(Protocol):
    """The settings that the trainers share."""

    @property
    def lora_rank(self) -> int:
        """Rank of the products; 0 for none."""

    @property
    def lora_alpha(self) -> float | None:
        """The products are scaled by alpha / rank; None is twice the rank."""


def add_adapter(model: PreTrainedModel, options: LoraOptions, seed: int) -> None:
    """Freeze `model` and add a low-rank product, initially 0, to each of its linear maps.

    The language-model head and the embeddings get none. `seed` draws the first factors.
    """
    if options.lora_rank == 0:
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError(
            f"lora_rank is {options.lora_rank}, but LoRA needs the package 'peft': "
            "pip install 'understudy[lora]'"
        ) from None
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha or 2 * options.lora_rank,  # type: ignore[arg-type]
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        base_model_name_or_path=model.name_or_path,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)


def has_adapter(model: nn.Module) -> bool:
    """Whether the model has an adapter."""
    return any(_is_adapted(module) for module in model.modules())


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Switch the adapter off within the block; no effect on a model without one."""
    layers: list[Any] = [module for module in model.modules() if _is_adapted(module)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of an equivalent plain model, by their names without an adapter."""
    adapted: dict[str, Any] = {n: m for n, m in model.named_modules() if _is_adapted(m)}
    weights = {}
    for name, weight in model.state_dict().items():
        if ".lora_" in name:
            continue
        owner, _, part = name.rpartition(".base_layer.")
        if part == "weight" and owner:
            weight = weight + adapted[owner].get_delta_weight(_NAME).detach()
        weights[name.replace(".base_layer.", ".")] = weight
    return weights


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights that a checkpoint keeps: all, or with an adapter only the trained ones."""
    weights: dict[str, Tensor] = model.state_dict()
    if not has_adapter(model):
        return weights
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: weight for name, weight in weights.items() if name in trained}


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the weights from `weights_of`."""
    assert set(weights) == set(weights_of(model)), "the checkpoint is of another model"
    if is_sharded(model):
        for name, weight in model.state_dict().items():
            fill(weight, weights[name])
    else:
        model.load_state_dict(weights, strict=not has_adapter(model))


def write_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapter as `peft` reads it: `PeftModel.from_pretrained(base, folder)`."""
    marks = (f".{_NAME}.", ".")
    factors = {
        f"base_model.model.{name.replace(*marks)}": weight.detach().contiguous().cpu()
        for name, weight in model.state_dict().items()
        if ".lora_" in name
    }
    save_file(factors, folder / "adapter_model.safetensors")
    config: Any = model.peft_config
    config[_NAME].save_pretrained(str(folder))


def _is_adapted(module: nn.Module) -> bool:
    return isinstance(getattr(module, "lora_A", None), nn.ModuleDict)
