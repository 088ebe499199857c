"""Decides, in one place, whether the hand-written passes can run a model.

`side_by_side.py` and `allocator.py` depend on the process, not on the model, and check for
themselves where they apply.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from understudy.models.masks import sliding_window
from understudy.models.sharding import is_sharded

_STATIC_ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding that do not depend on the longest position of a pass."""


def applies(trunk: PreTrainedModel, length: int | None = None) -> bool:
    """Whether a trunk is on a CPU, not sharded, and has Llama's modules without hooks. With
    `length`, also whether it can train on rows of up to `length` tokens: in fp32, with nothing
    wrapped, within the attention window. Callers still compare the results with the library's."""
    weight = trunk.get_input_embeddings().weight
    if weight.device.type != "cpu" or is_sharded(trunk) or not _has_llama_shape(trunk):
        return False
    if length is None:
        return True
    config: Any = trunk.config
    window = sliding_window(config)
    return (
        weight.dtype == torch.float32
        and config._attn_implementation == "sdpa"
        and not (window and window < length)
        and all(map(_is_plain, trunk.layers))
    )


def _has_llama_shape(trunk: Any) -> bool:
    """Whether the modules are Llama's by name and kind, without hooks."""
    rope: Any = getattr(trunk.config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in _STATIC_ROPES:
        return False
    if set(dict(trunk.named_children())) != {"embed_tokens", "layers", "norm", "rotary_emb"}:
        return False
    modules = [
        trunk,
        *trunk.layers,
        *(block for layer in trunk.layers for block in layer.children()),
    ]
    return all(map(_is_a_layer, trunk.layers)) and not any(map(_has_hooks, modules))


def _is_a_layer(layer: Any) -> bool:
    names = {name: set(dict(block.named_children())) for name, block in layer.named_children()}
    attention = names.pop("self_attn", set()) - {"q_norm", "k_norm"}
    norms = [module for module in layer.modules() if type(module).__name__.endswith("RMSNorm")]
    return (
        attention == {"q_proj", "k_proj", "v_proj", "o_proj"}
        and names.pop("mlp", None) == {"gate_proj", "up_proj", "down_proj", "act_fn"}
        and set(names) == {"input_layernorm", "post_attention_layernorm"}
        and all(hasattr(norm, "variance_epsilon") for norm in norms)
    )


def _has_hooks(module: nn.Module) -> bool:
    # PyTorch has no public way to ask. If these names go, this must fail: a pass that ignores a
    # hook would be wrong.
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_plain(layer: Any) -> bool:
    """Whether the layer has no wrapper, adapter, recomputation or dropout of attention weights."""
    blocks = (*layer.self_attn.children(), *layer.mlp.children())
    products = [block for block in blocks if not hasattr(block, "variance_epsilon")]
    products.remove(layer.mlp.act_fn)
    drops = layer.training and getattr(layer.self_attn, "attention_dropout", 0.0) > 0
    plain = all(type(block) is nn.Linear for block in products)
    return plain and not drops and "forward" not in vars(layer)
