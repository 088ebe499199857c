"""Whole sequences through a Llama-shaped trunk, with gradients: the same sums in fewer operations.

In a small model a third of a training pass goes to operations between the matrix products. Here a
norm's weight is multiplied into the activations or into the matrices behind them, whichever are
smaller; norm and gated block are one backward step each; the last product of a block adds the
residual itself; and the last layer's feed-forward block runs only where its result is read. Used on
CPU in fp32, and only if a trial pass gives the result of the model's own forward.

Rows of different lengths are concatenated without padding; only attention sees them side by side,
in groups of similar length. A common beginning of all rows, such as a system turn, is computed
once.

Shapes: B rows, T tokens, N tokens of all rows, M positions that are read, D hidden size, H heads, R
head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from understudy.models.batching import by_token_budget
from understudy.models.cpu.applies import applies
from understudy.models.cpu.llama import TRIAL, first_half_negative, linear_onto, turned

_GROUP_TOKENS = 96
"""Cost of one more group in attention, in padding tokens."""
_LEAST_SHARED = 16
"""Length in tokens from which a common beginning is computed only once."""


def direct_pass(trunk: PreTrainedModel, length: int, tried: dict[str, bool]) -> "DirectPass | None":
    """A pass of rows of at most `length` tokens; None if the library's code must run it.

    `tried` remembers whether this trunk's trial pass agreed with the library.
    """
    if not applies(trunk, length):
        return None
    if "direct_pass" not in tried:
        tried["direct_pass"] = _agrees(trunk)
    return DirectPass(trunk) if tried["direct_pass"] else None


@torch.no_grad()
def _agrees(trunk: PreTrainedModel) -> bool:
    weight = trunk.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(weight.shape[0], TRIAL, generator=generator)
    read_M = torch.tensor([3, 7, 9, 14, 31])
    expected_MD = trunk(input_ids=ids_BT, use_cache=False).last_hidden_state.flatten(0, 1)[read_M]
    found_MD = DirectPass(trunk)(Rows.padded(torch.ones_like(ids_BT)), ids_BT, read_M)
    return torch.allclose(found_MD, expected_MD, rtol=1e-4, atol=1e-4)


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive rows that attention sees side by side."""

    num_rows: int
    """Number of rows."""
    length: int
    """Tokens of the longest row."""
    slots: Tensor | None
    """Position of each real token among the group's padded ones; None if the rows are equally
    long."""
    members: Tensor
    """The rows' indices in the batch."""
    mask: Tensor | None = None
    """Additive mask (1, 1, T, S + T) of rows that continue S shared tokens; None for whole rows."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens, padding not counted."""
        return self.num_rows * self.length if self.slots is None else len(self.slots)

    def mask_of(self, mask: Tensor | None) -> Tensor | None:
        """These rows' part of a batch's additive mask (B, 1, T, T), else their own mask."""
        if mask is None:
            return self.mask
        return mask[self.members, :, : self.length, : self.length]

    def apart(self, x_NHR: Tensor) -> Tensor:
        """The tokens (N, H, R) as padded rows, (rows, H, T, R)."""
        if self.slots is not None:
            x_NHR = _Spread.apply(x_NHR, self.slots, self.num_rows * self.length)
        return x_NHR.unflatten(0, (self.num_rows, self.length)).transpose(1, 2)

    def joined(self, x_BTHR: Tensor) -> Tensor:
        """Padded rows (rows, T, H, R) as tokens (N, H, R), without padding."""
        x_NHR = x_BTHR.flatten(0, 1)
        return x_NHR if self.slots is None else _Collect.apply(x_NHR, self.slots)


@dataclass(frozen=True, slots=True)
class Rows:
    """Layout of a batch's tokens: row after row, from long to short, without padding.

    A beginning that all rows share comes first, as a row of its own; the others continue it.
    """

    groups: list[Group]
    """The rows, in the order of their tokens."""
    token_N: Tensor
    """Flat position of each token in the padded batch (B, T)."""
    place: Tensor
    """Its inverse: each flat position's index among the N tokens."""
    column_N: Tensor
    """Column of each token in the batch: its position in its row."""

    @classmethod
    def padded(cls, mask_BT: Tensor, ids_BT: Tensor | None = None) -> "Rows":
        """Rows padded on the right, whose tokens see only earlier tokens of their row. Given
        `ids_BT`, the rows share a common beginning."""
        lengths = [int(n) for n in mask_BT.sum(-1)]
        shared = 0 if ids_BT is None else _common_beginning(ids_BT, lengths)
        return cls._of(lengths, mask_BT.shape[1], shared)

    @classmethod
    def masked(cls, positions_BT: Tensor, lengths: list[int]) -> "Rows":
        """Rows of these lengths whose attention follows an explicit mask."""
        return cls._of(lengths, positions_BT.shape[1], 0, positions_BT)

    @classmethod
    def _of(
        cls, lengths: list[int], width: int, shared: int, positions_BT: Tensor | None = None
    ) -> "Rows":
        count, own = len(lengths), [length - shared for length in lengths]
        groups = [Group(1, shared, None, torch.zeros(1, dtype=torch.long))] if shared else []
        tokens = [torch.arange(shared)]
        columns_T = torch.arange(width)
        for part in by_token_budget(own, count * width, _GROUP_TOKENS):
            longest, members = own[part[0]], torch.tensor(part)
            real_BT = columns_T[:longest] < torch.tensor([own[i] for i in part])[:, None]
            full = bool(real_BT.all())
            slots = None if full else real_BT.flatten().nonzero().squeeze(-1)
            mask = _continuing(shared, longest) if shared else None
            groups.append(Group(len(part), longest, slots, members, mask))
            flat_BT = members[:, None] * width + shared + columns_T[:longest]
            tokens.append(flat_BT.flatten() if full else flat_BT.flatten()[slots])
        token_N = torch.cat(tokens)
        place = torch.zeros(count * width, dtype=torch.long)
        place[token_N] = torch.arange(len(token_N))
        place.view(count, width)[:, :shared] = tokens[0]
        column_N = token_N % width if positions_BT is None else positions_BT.flatten()[token_N]
        return cls(groups, token_N, place, column_N)


def _common_beginning(ids_BT: Tensor, lengths: list[int]) -> int:
    """Number of leading tokens that all rows share, fewer than the shortest row has; 0 if sharing
    would not pay."""
    most = min(lengths) - 1
    if len(lengths) < 2 or most < _LEAST_SHARED:
        return 0
    same_T = (ids_BT[:, :most] == ids_BT[0, :most]).all(0)
    shared = int(same_T.long().cumprod(0).sum())
    return shared if shared >= _LEAST_SHARED else 0


def _continuing(shared: int, length: int) -> Tensor:
    """Additive mask (1, 1, T, S + T) of `length` tokens T that see the S shared ones and no later
    token of their row."""
    hidden = torch.full((length, length), torch.finfo(torch.float32).min).triu_(1)
    return F.pad(hidden, (shared, 0))[None, None]


class DirectPass:
    """Runs whole sequences through a Llama-shaped trunk."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        self.trunk: Any = trunk

    def __call__(
        self, rows: Rows, ids_BT: Tensor, read_M: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Last hidden states (M, D) at the flat positions `read_M` of (B, T). Attention is causal
        unless an additive `mask` is given."""
        trunk, read_M = self.trunk, rows.place[read_M]
        masks = [group.mask_of(mask) for group in rows.groups]
        hidden_ND = trunk.embed_tokens(ids_BT.flatten()[rows.token_N])
        cos_1NR, sin_1NR = trunk.rotary_emb(hidden_ND, position_ids=rows.column_N.unsqueeze(0))
        turn = cos_1NR[0, :, None], first_half_negative(sin_1NR[0, :, None])
        for layer in trunk.layers:
            mixed_ND = _attention(layer, hidden_ND, rows, turn, masks)
            if layer is trunk.layers[-1]:
                mixed_ND, hidden_ND = (x.index_select(0, read_M) for x in (mixed_ND, hidden_ND))
            out = layer.self_attn.o_proj
            hidden_ND = linear_onto(hidden_ND, mixed_ND, out.weight, out.bias)
            hidden_ND = _feed_forward(layer, hidden_ND)
        return _normalized(hidden_ND, trunk.norm) * trunk.norm.weight


def _attention(
    layer: Any,
    hidden_ND: Tensor,
    rows: Rows,
    turn: tuple[Tensor, Tensor],
    masks: Sequence[Tensor | None],
) -> Tensor:
    attention = layer.self_attn
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    x_ND, weights = _normalized_for(projections, hidden_ND, layer.input_layernorm)
    weight_of = dict(zip(projections, weights, strict=True))

    def heads(projection: nn.Linear) -> Tensor:
        x_NM = F.linear(x_ND, weight_of[projection], projection.bias)
        return x_NM.unflatten(-1, (-1, attention.head_dim))

    def turned_heads(projection: nn.Linear, inner_norm: Any) -> Tensor:
        x_NHR = heads(projection)
        if inner_norm is not None:
            x_NHR = _normalized(x_NHR, inner_norm) * inner_norm.weight
        return turned(x_NHR, *turn)

    inputs_NHR = (
        turned_heads(attention.q_proj, getattr(attention, "q_norm", None)),
        turned_heads(attention.k_proj, getattr(attention, "k_norm", None)),
        heads(attention.v_proj),
    )
    sizes = [group.num_tokens for group in rows.groups]
    parts = (x_NHR.split(sizes) for x_NHR in inputs_NHR)
    mixed: list[Tensor] = []
    begun: list[Tensor] = []  # keys and values of the shared beginning
    for group, mask, *inputs in zip(rows.groups, masks, *parts, strict=True):
        query_BHTR, *seen = map(group.apart, inputs)
        if group.mask is not None:
            seen = [
                torch.cat((before.expand(group.num_rows, -1, -1, -1), x_BHTR), dim=2)
                for before, x_BHTR in zip(begun, seen, strict=True)
            ]
        begun = begun or seen
        mixed_BTHR, _ = sdpa_attention_forward(
            attention,
            query_BHTR,
            *seen,
            mask,
            scaling=attention.scaling,
            is_causal=mask is None,
        )
        mixed.append(group.joined(mixed_BTHR))
    return torch.cat(mixed).flatten(1)


def _feed_forward(layer: Any, hidden_ND: Tensor) -> Tensor:
    """hidden + the gated feed-forward block's output."""
    block = layer.mlp
    x_ND, (gate_FD, up_FD) = _normalized_for(
        (block.gate_proj, block.up_proj), hidden_ND, layer.post_attention_layernorm
    )
    biased = any(p.bias is not None for p in (block.gate_proj, block.up_proj, block.down_proj))
    if not biased and type(block.act_fn).__name__ in ("SiLU", "SiLUActivation"):
        added: Tensor = _FeedForward.apply(hidden_ND, x_ND, gate_FD, up_FD, block.down_proj.weight)
        return added
    gate_NF = F.linear(x_ND, gate_FD, block.gate_proj.bias)
    up_NF = F.linear(x_ND, up_FD, block.up_proj.bias)
    gated_NF, down = block.act_fn(gate_NF) * up_NF, block.down_proj
    return linear_onto(hidden_ND, gated_NF, down.weight, down.bias)


def _normalized_for(
    projections: Sequence[nn.Linear], hidden_ND: Tensor, norm: Any
) -> tuple[Tensor, list[Tensor]]:
    """Normalised inputs of linear maps, and the maps' weights. The norm's weight is multiplied into
    the inputs, or into the weights where these are smaller."""
    x_ND, weights = _normalized(hidden_ND, norm), [each.weight for each in projections]
    if len(x_ND) <= sum(map(len, weights)):
        return x_ND * norm.weight, weights
    return x_ND, [weight * norm.weight for weight in weights]


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


class _FeedForward(torch.autograd.Function):
    """hidden + down(silu(gate(x)) * up(x)); the backward pass recomputes silu(gate), since keeping
    it would take as much memory as the gates, and overwrites what it no longer needs."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_ND: Tensor,
        x_ND: Tensor,
        gate_FD: Tensor,
        up_FD: Tensor,
        down_DF: Tensor,
    ) -> Tensor:
        gate_NF, up_NF = F.linear(x_ND, gate_FD), F.linear(x_ND, up_FD)
        if any(ctx.needs_input_grad):
            gated_NF = F.silu(gate_NF).mul_(up_NF)
            ctx.save_for_backward(x_ND, gate_FD, up_FD, down_DF, gate_NF, up_NF)
        else:
            gated_NF = F.silu(gate_NF, inplace=True).mul_(up_NF)
        return torch.addmm(hidden_ND, gated_NF, down_DF.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x_ND, gate_FD, up_FD, down_DF, gate_NF, up_NF = ctx.saved_tensors
        opened_NF = F.silu(gate_NF)
        gated_NF = opened_NF * up_NF
        grad_down_DF = grad_ND.T @ gated_NF
        grad_gated_NF = grad_ND @ down_DF
        grad_up_NF = opened_NF.mul_(grad_gated_NF)
        grad_opened_NF = torch.mul(grad_gated_NF, up_NF, out=gated_NF)
        grad_gate_NF = torch.ops.aten.silu_backward(grad_opened_NF, gate_NF)
        grad_x_ND = torch.addmm(grad_up_NF @ up_FD, grad_gate_NF, gate_FD)
        grad_gate_FD, grad_up_FD = grad_gate_NF.T @ x_ND, grad_up_NF.T @ x_ND
        return grad_ND, grad_x_ND, grad_gate_FD, grad_up_FD, grad_down_DF


class _Spread(torch.autograd.Function):
    """Rows of x at `index` of `size` rows; the others are 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, size: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(index)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, index, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Collect(torch.autograd.Function):
    """Rows `index` of x, each at most once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(index)
        ctx.size = len(x)
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, index, grad), None
