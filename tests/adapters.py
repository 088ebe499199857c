"""Trains an adapter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def check_an_adapter_is_trained_alone(train: Callable[[Any], Path], config: Any) -> Path:
    """The run with an adapter, which changed the products' weights, where it is merged in, and
    nothing else."""
    out = train(replace(config, lora_rank=4))
    assert (out / "adapter" / "adapter_model.safetensors").exists()
    before = load_file(f"{config.model}/model.safetensors")
    after = load_file(out / "model" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(part in name for name in changed for part in ("norm", "embed", "head"))
    return out
