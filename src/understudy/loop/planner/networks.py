"""The networks of a run as shapes: they have sizes and run passes, but hold no values."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from understudy.models.compute import products_of
from understudy.models.lora import LoraOptions, add_adapter
from understudy.models.policies import Policy, check_folder, one_line, quiet_library
from understudy.models.scalar import ScalarModel
from understudy.models.sharding import blocks_of
from understudy.models.splitting import divided_weights

FP32 = 4
"""Bytes of a weight, a gradient, and each of Adam's two moments."""
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, eq=False)
class Network:
    """A language model, or with `scalar` its trunk and a scalar head, of a given architecture."""

    name: str
    """Folder or size, to print."""
    config: Any
    """The library's config."""
    lora: LoraOptions
    """Adapters to train, if any (the trainer's settings)."""
    scalar: bool = False
    """A reward model or critic instead of a policy."""

    def build(self, layers: int | None = None) -> Policy | ScalarModel:
        """The network on the current device, with its first `layers` layers only if given."""
        config = copy.deepcopy(self.config)
        if layers is not None:
            config.num_hidden_layers = layers
            if kinds := getattr(config, "layer_types", None):
                config.layer_types = kinds[:layers]
        with quiet_library():
            policy = Policy(AutoModelForCausalLM.from_config(config, dtype=torch.float32))
        add_adapter(policy.model, self.lora, seed=0)
        if not self.scalar:
            return policy
        with torch.device("cpu"):
            return ScalarModel.from_policy(policy)

    @cached_property
    def model(self) -> Policy | ScalarModel:
        """The network without storage."""
        with torch.device("meta"):
            return self.build()

    @property
    def parameters(self) -> int:
        """Number of parameters; tied ones count once."""
        return self.numbers()

    def numbers(self, shards: int = 1, trained: bool = False, tensor: int = 1) -> int:
        """Parameters on the first rank, which holds the most: `tensor` ranks split the layers'
        weights, then FSDP2 divides each part's rows equally over `shards`. `trained` counts only
        trained ones."""
        here = self._here(shards, tensor)
        return sum(count for weight, count in here if weight.requires_grad or not trained)

    def _here(self, shards: int, tensor: int) -> Iterator[tuple[nn.Parameter, int]]:
        """Each weight, and how many of its values the first rank holds."""
        model = self.model
        root = model.model if isinstance(model, Policy) else model
        dims = dict(divided_weights(root, self.config.model_type)) if tensor > 1 else {}
        for name, weight in root.named_parameters():
            shape = list(weight.shape)
            if name in dims:
                shape[dims[name]] //= tensor
            yield weight, -(-shape[0] // shards) * math.prod(shape[1:])

    @cached_property
    def _products(self) -> frozenset[int]:
        """The weights that bf16 rounds, by identity."""
        found = (weight for one in products_of(self.model) for weight in one.parameters())
        return frozenset(map(id, found))

    def frozen_bytes(self, shards: int, tensor: int, bf16: bool) -> int:
        """Bytes on the first rank of a frozen network's weights; with adapters, of the frozen
        weights."""
        rounded = self._products if bf16 else ()
        return sum(
            count * (2 if id(weight) in rounded else FP32)
            for weight, count in self._here(shards, tensor)
            if not (self.lora.lora_rank and weight.requires_grad)
        )

    def copy_bytes(self, ranks: int, bf16: bool) -> int:
        """Bytes of a rollout copy's part on each of the `ranks` that share it."""
        model = self.model
        assert isinstance(model, Policy)
        divided = dict(divided_weights(model.model, self.config.model_type)) if ranks > 1 else {}
        rounded = self._products if bf16 else ()
        return sum(
            weight.numel()
            // (ranks if name in divided else 1)
            * (2 if id(weight) in rounded else FP32)
            for name, weight in model.named_parameters()
        )

    def moments(self, shards: int, tensor: int = 1) -> int:
        """Bytes of Adam's state: two moments per trained weight, and a step count per tensor."""
        trained = sum(weight.requires_grad for weight in self.model.parameters())
        return 2 * FP32 * self.numbers(shards, trained=True, tensor=tensor) + FP32 * trained

    @cached_property
    def in_blocks(self) -> int:
        """Parameters in the decoder layers."""
        return sum(w.numel() for block in blocks_of(self.model) for w in block.parameters())

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return int(self.config.num_hidden_layers)

    @property
    def vocabulary(self) -> int:
        """Rows of the embeddings."""
        return int(self.config.vocab_size)

    @property
    def _head_size(self) -> int:
        given = getattr(self.config, "head_dim", None)
        return int(given or self.config.hidden_size // self.config.num_attention_heads)

    def cached_numbers(self) -> int:
        """Values per token in one layer's cache of keys, or as many in its cache of values."""
        heads = getattr(self.config, "num_key_value_heads", None)
        return int(heads or self.config.num_attention_heads) * self._head_size

    def flops(self, length: int, reads: int) -> int:
        """Operations of one forward pass over a row of `length` tokens, the last `reads` of which
        go through the head: two per matrix weight and token; and for attention, computed in full
        despite its causal mask, four per pair of tokens, head dimension, head and layer."""
        matrices = sum(
            weight.numel()
            for block in blocks_of(self.model)
            for weight in block.parameters()
            if weight.ndim == 2
        )
        width = int(self.config.num_attention_heads) * self._head_size
        outputs = 1 if self.scalar else self.vocabulary
        head = 2 * reads * outputs * int(self.config.hidden_size)
        return 2 * length * matrices + 4 * length**2 * width * self.layers + head


def network_of(name: str, shape: Mapping[str, Any] | None, lora: LoraOptions) -> Network:
    """A policy of `shape` (arguments of the library's config), or else of the folder `name`;
    ValueError if it cannot be planned."""
    try:
        if shape is not None:
            config = AutoConfig.for_model(**shape)
        else:
            with quiet_library():
                config = AutoConfig.from_pretrained(check_folder(Path(name)))
        network = Network(name, config, lora)
        found = list(blocks_of(network.model))
    except (ValueError, KeyError, OSError, TypeError, AttributeError, RuntimeError) as error:
        reason = one_line(error).removeprefix(f"{name} ")
        raise ValueError(f"{name} is not a language model to plan for: {reason}") from None
    if not found or any(getattr(config, expert, 0) for expert in _EXPERTS):
        raise ValueError(f"{name} is not a dense decoder, and plan counts no other architecture")
    return network


def as_scalar(network: Network) -> Network:
    """The reward model or critic of the same architecture."""
    return Network(network.name, network.config, network.lora, scalar=True)
