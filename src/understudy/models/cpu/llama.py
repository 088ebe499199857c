"""The trunk of a Llama-shaped decoder run directly: fewer operations, little Python around them.

In a small model most of a decode step is overhead: modules that call modules, argument handling,
operations on a few rows. `direct_trunk` runs the same modules' weights (also those wrapped by an
adapter) in the same order, and is used only if a trial shows that it agrees with the model's own
forward. Forward only, on CPU, in the weights' precision.

Shapes: B rows, T tokens of a pass, N = B x T, D hidden size, H heads, P positions, R head size.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from understudy.models.cpu.applies import applies
from understudy.models.masks import Mask

Attention = Callable[..., tuple[Tensor, Any]]


TRIAL = (4, 8)
"""Rows and tokens of the trial pass."""
COLUMN_ROWS = range(8, 129)
"""Numbers of rows whose hidden states are kept by column. With 8 to 64 rows, matrix products then
run 1.2 to 1.8 times as fast; with more about as fast, with fewer slower (`dev/LOG.md`,
2026-11-30)."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs of a forward pass that adds to a cache."""

    ids_BT: Tensor
    """Tokens."""
    positions_BT: Tensor
    """Their positions."""
    mask: Mask
    """Additive mask; None for a causal pass."""
    cache: Cache
    """Cache for their keys and values."""
    read_M: Tensor | None = None
    """Flat positions of (B, T) whose hidden states are wanted; None for all."""


Forward = Callable[[Inputs], Tensor]
"""From a pass's inputs to the last hidden states (M, D) at the wanted positions."""


def library_trunk(trunk: PreTrainedModel) -> Forward:
    """The model's own forward pass."""
    takes = inspect.signature(trunk.forward).parameters
    cache = "cache" if "cache" in takes else "past_key_values"  # its name before transformers 5.24

    def forward(inputs: Inputs) -> Tensor:
        hidden_BTD: Tensor = trunk(
            input_ids=inputs.ids_BT,
            attention_mask=inputs.mask,
            position_ids=inputs.positions_BT,
            use_cache=True,
            **{cache: inputs.cache},
        ).last_hidden_state
        hidden_ND = hidden_BTD.flatten(0, 1)
        return hidden_ND if inputs.read_M is None else hidden_ND[inputs.read_M]

    return forward


class LlamaTrunk:
    """Llama, Qwen 2 and 3, Mistral and other models with the same modules in the same order."""

    def __init__(self, trunk: PreTrainedModel, longest: int, attend: Attention) -> None:
        model: Any = trunk
        self.embed, self.norm, self.attend = model.embed_tokens, model.norm, attend
        self.layers = [_Layer(layer) for layer in model.layers]
        weight = self.embed.weight
        positions_1P = torch.arange(longest, device=weight.device).unsqueeze(0)
        cos_1PR, sin_1PR = model.rotary_emb(weight[:1], position_ids=positions_1P)
        self.cos_PR, self.sin_PR = cos_1PR[0], first_half_negative(sin_1PR[0])

    def __call__(self, inputs: Inputs) -> Tensor:
        """Last hidden states (M, D)."""
        count, shape, read_M = inputs.ids_BT.numel(), inputs.ids_BT.shape, inputs.read_M
        hidden_ND = self.embed(inputs.ids_BT).flatten(0, 1)
        if count in COLUMN_ROWS:
            hidden_ND = hidden_ND.T.contiguous().T
        positions_N = inputs.positions_BT.flatten()
        cos_N1R = self.cos_PR[positions_N].unsqueeze(1)
        sin_N1R = self.sin_PR[positions_N].unsqueeze(1)
        for index, layer in enumerate(self.layers):
            query, key, value = (
                x_NHR.unflatten(0, shape).transpose(1, 2)
                for x_NHR in layer.projections(hidden_ND, cos_N1R, sin_N1R)
            )
            key, value = inputs.cache.update(key, value, index)
            mixed, _ = self.attend(
                layer.attention, query, key, value, inputs.mask, scaling=layer.attention.scaling
            )
            mixed_ND = mixed.reshape(count, -1)
            if read_M is not None and index == len(self.layers) - 1:
                mixed_ND, hidden_ND = mixed_ND[read_M], hidden_ND[read_M]
            hidden_ND = layer.output_onto(hidden_ND, mixed_ND)
            hidden_ND = layer.feed_forward_onto(hidden_ND)
        return _rms_norm(self.norm, hidden_ND).contiguous()


class _Layer:
    """One decoder layer's modules, looked up once."""

    def __init__(self, layer: Any) -> None:
        self.attention: Any = layer.self_attn
        self.head_size = int(layer.self_attn.head_dim)
        self.before, self.after = layer.input_layernorm, layer.post_attention_layernorm
        self.query, self.key = layer.self_attn.q_proj, layer.self_attn.k_proj
        self.value, self.output = layer.self_attn.v_proj, layer.self_attn.o_proj
        self.query_norm = getattr(layer.self_attn, "q_norm", None)
        self.key_norm = getattr(layer.self_attn, "k_norm", None)
        self.gate, self.up, self.down = layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj
        self.activation = layer.mlp.act_fn

    def projections(
        self, hidden_ND: Tensor, cos_N1R: Tensor, sin_N1R: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key (both rotated by their positions) and value, (N, H, R) each."""
        x_ND = _rms_norm(self.before, hidden_ND)
        query_NHR, key_NHR, value_NHR = (
            _product(projection, x_ND).contiguous().view(len(x_ND), -1, self.head_size)
            for projection in (self.query, self.key, self.value)
        )
        if self.query_norm is not None:
            query_NHR = _rms_norm(self.query_norm, query_NHR)
            key_NHR = _rms_norm(self.key_norm, key_NHR)
        return turned(query_NHR, cos_N1R, sin_N1R), turned(key_NHR, cos_N1R, sin_N1R), value_NHR

    def output_onto(self, hidden_ND: Tensor, mixed_ND: Tensor) -> Tensor:
        """hidden + the attention block's output."""
        return _product(self.output, mixed_ND, hidden_ND)

    def feed_forward_onto(self, hidden_ND: Tensor) -> Tensor:
        """hidden + the gated feed-forward block's output."""
        x_ND = _rms_norm(self.after, hidden_ND)
        gated_NF = self.activation(_product(self.gate, x_ND)).mul_(_product(self.up, x_ND))
        return _product(self.down, gated_NF, hidden_ND)


def _product(projection: Any, x_NK: Tensor, onto_NM: Tensor | None = None) -> Tensor:
    """The output of a linear map, wrapped or not, added to `onto`; by column if `onto`, or without
    it x, is."""
    plain = type(projection) is nn.Linear and not torch.is_autocast_enabled("cpu")
    if plain and onto_NM is not None:
        return linear_onto(onto_NM, x_NK, projection.weight, projection.bias)
    if plain and _by_column(x_NK):
        found_MN = torch.mm(projection.weight, x_NK.T)
        return found_MN.T if projection.bias is None else found_MN.T + projection.bias
    found_NM: Tensor = projection(x_NK)
    return found_NM if onto_NM is None else onto_NM.add_(found_NM)


def linear_onto(
    sum_NM: Tensor, x_NK: Tensor, weight_MK: Tensor, bias_M: Tensor | None = None
) -> Tensor:
    """sum + x @ weight.T + bias, by column if the sum is."""
    if _by_column(sum_NM):
        found_NM = torch.addmm(sum_NM.T, weight_MK, x_NK.T).T
    else:
        found_NM = torch.addmm(sum_NM, x_NK, weight_MK.T)
    return found_NM if bias_M is None else found_NM + bias_M


def _by_column(x_NK: Tensor) -> bool:
    """Whether the rows' first elements lie side by side in memory, then their second ones."""
    return x_NK.stride() == (1, len(x_NK)) != (1, 1)


def _rms_norm(norm: Any, x: Tensor) -> Tensor:
    scale = (x * x).mean(-1, keepdim=True).add_(norm.variance_epsilon).rsqrt_()
    return (x * scale).mul_(norm.weight)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of (..., H, R) by (..., 1, R); `sin` comes from `first_half_negative`.

    Keeps the library's order of a head's elements, so adapters can wrap the products.
    """
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), -1)
    return (x * cos).addcmul_(swapped, sin)


def first_half_negative(sin: Tensor) -> Tensor:
    """Sines with the first half negated, for the half that is rotated there."""
    half = sin.shape[-1] // 2
    return torch.cat((-sin[..., :half], sin[..., half:]), -1)


def direct_trunk(
    trunk: PreTrainedModel,
    longest: int,
    attend: Attention,
    make_cache: Callable[[], Cache],
    tried: dict[str, bool],
) -> Forward:
    """`LlamaTrunk` where the model has that shape and agrees with it, else `library_trunk`.

    Positions stay below `longest`. `attend` is an attention function with the library's interface;
    `make_cache` makes an empty cache with room for a pass of `TRIAL`. On that pass, of random
    tokens, both must give the same hidden states; `tried` remembers whether they did.
    """
    if not applies(trunk):
        return library_trunk(trunk)
    direct = LlamaTrunk(trunk, longest, attend)
    if "direct_trunk" not in tried:
        trial = LlamaTrunk(trunk, TRIAL[1], attend)
        tried["direct_trunk"] = _agree(library_trunk(trunk), trial, trunk, make_cache)
    return direct if tried["direct_trunk"] else library_trunk(trunk)


def _agree(
    one: Forward, other: Forward, trunk: PreTrainedModel, make_cache: Callable[[], Cache]
) -> bool:
    weight = trunk.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(weight.shape[0], TRIAL, generator=generator).to(weight.device)
    positions_BT = torch.arange(TRIAL[1], device=weight.device).expand(TRIAL)
    found, expected = (
        way(Inputs(ids_BT, positions_BT, None, make_cache())) for way in (other, one)
    )
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
