"""LoRA (Hu et al. 2021): small trained products beside frozen linear maps, through `peft`.

An adapter is added in place, so forward passes, sampling and losses need no change. With the
adapter off, the model is the original: PPO's reference, without a second copy. Where a model has no
adapter, these functions change nothing.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from understudy.models.loading import read_network
from understudy.models.ops import at_least_fp32
from understudy.models.sharding import fill, is_sharded

_NAME = "default"


class LoraOptions(Protocol):
    """The settings that the trainers share."""

    @property
    def lora_rank(self) -> int:
        """Rank of the products; 0 for none."""

    @property
    def lora_alpha(self) -> float | None:
        """The products are multiplied by alpha / rank; None means twice the rank."""


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
    for parameter in model.parameters():
        if parameter.requires_grad:  # peft gives factors the precision of the frozen weights
            parameter.data = at_least_fp32(parameter.data)


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


def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of an equivalent plain model, under its names. Frozen weights stored in bf16 are
    read again in fp32 from where the model was loaded; ValueError if they have changed there."""
    adapted: dict[str, Any] = {n: m for n, m in model.named_modules() if _is_adapted(m)}
    held, exact = model.state_dict(), {}
    if any(weight.dtype == torch.bfloat16 for weight in held.values()):
        exact = read_network(type(model), model.name_or_path, torch.float32).state_dict()
    weights = {}
    for name, weight in held.items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        if plain in exact:
            if not torch.equal(exact[plain].to(weight), weight):
                raise ValueError(
                    f"{model.name_or_path} has changed since the run loaded it ({plain}), so the "
                    "adapter cannot be merged; put the model back and go on with --resume"
                )
            weight = exact[plain]
        owner, _, part = name.rpartition(".base_layer.")
        if part == "weight" and owner:
            weight = weight + adapted[owner].get_delta_weight(_NAME).detach().to(weight.device)
        weights[plain] = weight
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


class _Fixed:
    """A linear map plus the product of two frozen factors."""

    down: Tensor
    up: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both outputs."""
        found: Tensor = super().forward(x)  # type: ignore[misc]
        linear = nn.functional.linear
        return found + linear(linear(x, self.down), self.up)

    def delta(self) -> Tensor:
        """The product of the factors, in the weight's layout."""
        product = self.up @ self.down
        return product.T if isinstance(self, Conv1D) else product


class _FixedLinear(_Fixed, nn.Linear):
    pass


class _FixedConv1D(_Fixed, Conv1D):
    pass


def with_adapter(trunk: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A trunk that shares the weights of the plain `trunk` and adds the frozen adapter that
    `write_adapter` wrote to `folder`."""
    held: dict[int, Any] = {id(weight): weight for weight in trunk.parameters()}
    other = copy.deepcopy(trunk, held)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    factors = load_file(folder / "adapter_model.safetensors")
    for name in sorted(key.removesuffix(".lora_A.weight") for key in factors if ".lora_A." in key):
        module = other.get_submodule(name.removeprefix("base_model.model."))
        weight: Any = module.weight
        up = factors[f"{name}.lora_B.weight"] * (config["lora_alpha"] / config["r"])
        for key, factor in (("down", factors[f"{name}.lora_A.weight"]), ("up", up)):
            module.register_buffer(key, factor.to(weight), persistent=False)
        module.__class__ = _FixedConv1D if isinstance(module, Conv1D) else _FixedLinear
    return other


def differs_from(trunk: PreTrainedModel, folder: Path) -> str | None:
    """The name of the first weight in which a model folder differs from `trunk` (from
    `with_adapter`) with its adapter merged, or None. Merged weights may differ by rounding, others
    must be equal in every bit."""
    fixed = {name: module for name, module in trunk.named_modules() if isinstance(module, _Fixed)}
    left = dict(trunk.named_parameters())
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 (it is no mapping)
                name = key.removeprefix(f"{trunk.base_model_prefix}.")
                if name not in left:
                    continue
                weight, found = left.pop(name).detach(), stored.get_tensor(key)
                owner, _, part = name.rpartition(".")
                if owner in fixed and part == "weight":
                    same = found.shape == weight.shape and torch.allclose(
                        found.to(weight), weight + fixed[owner].delta(), rtol=1e-4, atol=1e-6
                    )
                else:
                    same = torch.equal(found.to(weight), weight)
                if not same:
                    return name
    return min(left, default=None)


def _is_adapted(module: nn.Module) -> bool:
    return isinstance(getattr(module, "lora_A", None), nn.ModuleDict)
