"""Whole sequences through a Llama-shaped trunk, with gradients: the same sums in fewer operations.

In a small model a third of a training pass is not matrix products but what stands between them.
Here a norm's weight is multiplied into the matrices behind it, which are smaller than the
activations; norm, rotation and gate are one step of the backward pass each; the products that end a
block add the residual themselves; and the last layer's feed-forward block runs only where its
result is read. Used on CPU in fp32, and only where a trial pass gives what the model's own forward
gives.

Shapes: B rows, T tokens, N = B x T, M positions that are read, D hidden size, H heads, R head size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from understudy.core.llama import first_half_negative, has_llama_shape, turned
from understudy.core.masks import sliding_window

_AGREES = "_understudy_passes_directly"

HiddenAt = Callable[[Tensor, Tensor | None, Tensor | None, Tensor], Tensor]
"""(ids_BT, additive mask or None for causal, positions or None, read_M) to (M, D)."""


def direct_pass(trunk: PreTrainedModel, length: int) -> HiddenAt | None:
    """Rows of `length` tokens through the trunk, to the hidden states at flat positions `read_M`;
    None where the library must do it.
    """
    if not _runs_directly(trunk, length):
        return None
    agrees = getattr(trunk, _AGREES, None)
    if agrees is None:
        agrees = _agrees(trunk)
        object.__setattr__(trunk, _AGREES, agrees)
    return _DirectPass(trunk) if agrees else None


def _runs_directly(trunk: PreTrainedModel, length: int) -> bool:
    config: Any = trunk.config
    window = sliding_window(config)
    return (
        config._attn_implementation == "sdpa"
        and not (window and window < length)
        and has_llama_shape(trunk)
        and all(map(_is_plain, trunk.layers))
        and trunk.get_input_embeddings().weight.dtype == torch.float32
    )


def _is_plain(layer: Any) -> bool:
    """Whether nothing is wrapped: no adapter on a product, no recomputation around the layer."""
    blocks = (*layer.self_attn.children(), *layer.mlp.children())
    products = [block for block in blocks if not hasattr(block, "variance_epsilon")]
    products.remove(layer.mlp.act_fn)
    return "forward" not in vars(layer) and all(type(block) is nn.Linear for block in products)


@torch.no_grad()
def _agrees(trunk: PreTrainedModel) -> bool:
    weight = trunk.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(weight.shape[0], (2, 7), generator=generator)
    read_M = torch.tensor([3, 6, 8, 13])
    expected_MD = trunk(input_ids=ids_BT, use_cache=False).last_hidden_state.flatten(0, 1)[read_M]
    found_MD = _DirectPass(trunk)(ids_BT, None, None, read_M)
    model: Any = trunk
    turns = model.rotary_emb(found_MD, position_ids=torch.arange(7).unsqueeze(0))
    # What the gradient of a rotation takes for granted, and no forward pass would show.
    halves_alike = all(torch.equal(*x.chunk(2, -1)) for x in turns)
    return halves_alike and torch.allclose(found_MD, expected_MD, rtol=1e-4, atol=1e-4)


class _DirectPass:
    """A trunk's modules, looked up for one pass."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        self.trunk: Any = trunk

    def __call__(
        self,
        ids_BT: Tensor,
        mask: Tensor | None,
        positions_BT: Tensor | None,
        read_M: Tensor,
    ) -> Tensor:
        """Last hidden states (M, D)."""
        trunk, (rows, length) = self.trunk, ids_BT.shape
        hidden_ND = trunk.embed_tokens(ids_BT).flatten(0, 1)
        if positions_BT is None:
            positions_BT = torch.arange(length, device=ids_BT.device).unsqueeze(0)
        cos_BTR, sin_BTR = trunk.rotary_emb(hidden_ND, position_ids=positions_BT)
        rotation = cos_BTR.unsqueeze(2), first_half_negative(sin_BTR).unsqueeze(2)
        for layer in trunk.layers:
            mixed_ND = _attention(layer, hidden_ND, (rows, length), rotation, mask)
            if layer is trunk.layers[-1]:
                mixed_ND, hidden_ND = mixed_ND[read_M], hidden_ND[read_M]
            hidden_ND = _product_onto(hidden_ND, layer.self_attn.o_proj, mixed_ND)
            hidden_ND = _feed_forward(layer, hidden_ND)
        return _normalized(hidden_ND, trunk.norm) * trunk.norm.weight


def _attention(
    layer: Any,
    hidden_ND: Tensor,
    shape: tuple[int, int],
    rotation: tuple[Tensor, Tensor],
    mask: Tensor | None,
) -> Tensor:
    attention, norm = layer.self_attn, layer.input_layernorm
    x_ND = _normalized(hidden_ND, norm)

    def heads(projection: nn.Linear) -> Tensor:
        out_ND = F.linear(x_ND, projection.weight * norm.weight, projection.bias)
        return out_ND.unflatten(0, shape).unflatten(-1, (-1, attention.head_dim))

    query_BTHR, key_BTHR = heads(attention.q_proj), heads(attention.k_proj)
    if hasattr(attention, "q_norm"):
        query_BTHR = _normalized(query_BTHR, attention.q_norm) * attention.q_norm.weight
        key_BTHR = _normalized(key_BTHR, attention.k_norm) * attention.k_norm.weight
    mixed_BTHR, _ = sdpa_attention_forward(
        attention,
        _Turn.apply(query_BTHR, *rotation).transpose(1, 2),
        _Turn.apply(key_BTHR, *rotation).transpose(1, 2),
        heads(attention.v_proj).transpose(1, 2),
        mask,
        scaling=attention.scaling,
        is_causal=mask is None,
    )
    return mixed_BTHR.reshape(len(hidden_ND), -1)


def _feed_forward(layer: Any, hidden_ND: Tensor) -> Tensor:
    block, norm = layer.mlp, layer.post_attention_layernorm
    x_ND = _normalized(hidden_ND, norm)
    gate = F.linear(x_ND, block.gate_proj.weight * norm.weight, block.gate_proj.bias)
    up = F.linear(x_ND, block.up_proj.weight * norm.weight, block.up_proj.bias)
    silu = type(block.act_fn).__name__ in ("SiLU", "SiLUActivation")
    if not silu:
        gated = block.act_fn(gate) * up
    elif torch.is_grad_enabled():
        gated = _Gate.apply(gate, up)
    else:
        gated = F.silu(gate, inplace=True).mul_(up)
    return _product_onto(hidden_ND, block.down_proj, gated)


def _product_onto(hidden_ND: Tensor, projection: nn.Linear, x_NF: Tensor) -> Tensor:
    """hidden + projection(x)."""
    if torch.is_grad_enabled():
        sum_ND = torch.addmm(hidden_ND, x_NF, projection.weight.T)
    else:
        sum_ND = hidden_ND.addmm_(x_NF, projection.weight.T)
    return sum_ND if projection.bias is None else sum_ND + projection.bias


def _normalized(x: Tensor, norm: Any) -> Tensor:
    """RMS norm without its weight."""
    scaled: Tensor = _Normalize.apply(x, norm.variance_epsilon)
    return scaled


class _Normalize(torch.autograd.Function):
    """y = x / sqrt(mean(x^2) + epsilon) over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        squares = torch.linalg.vecdot(x, x).div_(x.shape[-1])
        scale = squares.add_(epsilon).rsqrt_().unsqueeze(-1)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        y, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, y).div_(y.shape[-1]).unsqueeze(-1)
        return torch.addcmul(grad, y, along, value=-1).mul_(scale), None


class _Turn(torch.autograd.Function):
    """Rotary embedding; its gradient turns the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return turned(grad, cos, -sin), None, None


class _Gate(torch.autograd.Function):
    """silu(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:  # type: ignore[override]
        opened = F.silu(gate)
        ctx.save_for_backward(gate, up, opened)
        return opened * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, up, opened = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), opened * grad
