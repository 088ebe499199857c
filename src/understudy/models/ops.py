"""Masked statistics and log-probabilities: each quantity that several stages share, defined once.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, N selected tokens. A mask is bool or
float with 1 (True) at the positions that count.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_ELEMENTS = 2**20
"""Logits computed at a time (but at least 128 rows): 4 MB in fp32, which fits a CPU's cache."""
_CHUNK_ELEMENTS_GPU = 2**26
"""The same on a GPU, where large products pay: 256 MB in fp32."""
_KEEP_ELEMENTS = 2**24
"""Log-probabilities kept for the backward pass instead of being recomputed: 64 MB in fp32."""


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in fp32; fp64 stays fp64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `x` where `mask` is 1, over all or one dimension; 0 where nothing counts."""
    mask = mask.to(x.dtype)
    # where, not a product: a masked NaN or infinity must not reach the sum.
    kept = torch.where(mask > 0, x * mask, torch.zeros_like(x))
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim) / mask.sum(dim).clamp(min=1)


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Biased variance of `x` where `mask` is 1 (LHP divides by n, torch.var by n - 1)."""
    return masked_mean((x - masked_mean(x, mask)) ** 2, mask)


def whiten(x_BT: Tensor, mask_BT: Tensor, shift_mean: bool = True) -> Tensor:
    """`x` scaled to variance 1 over the masked positions; the mean goes to 0 or stays
    (`shift_mean`)."""
    mean = masked_mean(x_BT, mask_BT)
    white_BT = (x_BT - mean) * torch.rsqrt(masked_var(x_BT, mask_BT) + 1e-8)
    white_BT = white_BT if shift_mean else white_BT + mean
    return torch.where(mask_BT.bool(), white_BT, torch.zeros_like(white_BT))


def logprobs_of(logits_BTV: Tensor, labels_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each label under its own row of logits divided by `temperature`, in
    fp32."""
    logits_BTV = at_least_fp32(logits_BTV) / temperature
    picked_BT = logits_BTV.gather(-1, labels_BT.unsqueeze(-1)).squeeze(-1)
    return picked_BT - torch.logsumexp(logits_BTV, dim=-1)


def entropy_of(logits_BTV: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of the distribution that each row of logits gives, in fp32."""
    logprobs_BTV = F.log_softmax(at_least_fp32(logits_BTV) / temperature, dim=-1)
    return -(logprobs_BTV.exp() * logprobs_BTV).sum(-1)


def chunked_logprobs(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    labels_BT: Tensor,
    temperature: float = 1.0,
    chunk: int | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(log-probability of each label, entropy), both of the shape of `labels` and in fp32 or
    better, from hidden states.

    `hidden` may have any leading shape, such as (B, T, D) or (N, D) for the selected positions
    only. Logits are `hidden @ weight.T + bias`, soft-capped if asked (Gemma 2), divided by
    `temperature`. Both passes compute them for `chunk` positions at a time (default: a few MB), so
    no tensor of all positions times the vocabulary exists, unless it is small enough (64 MB) to
    keep.
    """
    hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])
    rows = chunk_rows(len(weight_VD), weight_VD.device.type) if chunk is None else chunk
    logprobs_N, entropy_N = _ChunkedLogprobs.apply(
        hidden_ND, weight_VD, bias, labels_BT.reshape(-1), temperature, rows, softcap
    )  # type: ignore[no-untyped-call]
    if labels_BT.ndim == 1:  # a sharded model may not return views
        return logprobs_N, entropy_N
    return logprobs_N.view(labels_BT.shape), entropy_N.view(labels_BT.shape)


def chunk_rows(vocabulary: int, device_type: str) -> int:
    """Rows of logits computed at a time, on a kind of device."""
    elements = _CHUNK_ELEMENTS if device_type == "cpu" else _CHUNK_ELEMENTS_GPU
    return max(128, elements // vocabulary)


class _ChunkedLogprobs(torch.autograd.Function):
    """Log-softmax over a linear head, a chunk of rows at a time.

    With p the probabilities and H the entropy of a row, the gradient at logit v is
    g_logprob * (1[v = label] - p_v) - g_entropy * p_v * (log p_v + H).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        temperature: float,
        rows: int,
        softcap: float | None,
    ) -> tuple[Tensor, Tensor]:
        num_rows = hidden_ND.shape[0]
        dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
        logprobs_N = torch.empty(num_rows, dtype=dtype, device=hidden_ND.device)
        entropy_N = torch.empty_like(logprobs_N)
        keep = num_rows * weight_VD.shape[0] <= _KEEP_ELEMENTS and any(ctx.needs_input_grad[:3])
        kept: list[Tensor] = []
        for start in range(0, num_rows, rows):
            part = slice(start, start + rows)
            logits_NV = _logits(hidden_ND[part], weight_VD, bias_V, temperature, softcap)
            all_NV = F.log_softmax(logits_NV, dim=-1)
            logprobs_N[part] = all_NV.gather(-1, labels_N[part].unsqueeze(-1)).squeeze(-1)
            entropy_N[part] = -torch.linalg.vecdot(all_NV.exp(), all_NV)
            if keep:
                kept.append(all_NV)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, labels_N, entropy_N, *kept)
        ctx.temperature, ctx.rows, ctx.softcap = temperature, rows, softcap
        ctx.set_materialize_grads(False)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_logprobs_N: Tensor | None, grad_entropy_N: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, labels_N, entropy_N, *kept = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        if grad_logprobs_N is None and grad_entropy_N is None:
            return (None,) * 7
        grad_hidden_ND = torch.empty_like(hidden_ND) if need_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD) if need_weight else None
        grad_bias_V = torch.zeros_like(bias_V) if need_bias and bias_V is not None else None
        for number, start in enumerate(range(0, hidden_ND.shape[0], ctx.rows)):
            part = slice(start, start + ctx.rows)
            if kept:
                all_NV = kept[number]
            else:
                logits = _logits(hidden_ND[part], weight_VD, bias_V, ctx.temperature, ctx.softcap)
                all_NV = F.log_softmax(logits, dim=-1)
            grad_NV = _grad_logits(
                all_NV,
                labels_N[part],
                None if grad_logprobs_N is None else grad_logprobs_N[part],
                None if grad_entropy_N is None else grad_entropy_N[part],
                entropy_N[part],
            )
            if ctx.temperature != 1.0:
                grad_NV /= ctx.temperature
            if ctx.softcap is not None:
                raw_NV = _logits(hidden_ND[part], weight_VD, bias_V, 1.0, ctx.softcap)
                grad_NV *= 1 - (raw_NV / ctx.softcap) ** 2
            grad_NV = grad_NV.to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[part] = grad_NV @ weight_VD.to(grad_NV.dtype)
            if grad_weight_VD is not None:
                if grad_weight_VD.dtype == grad_NV.dtype:
                    grad_weight_VD.addmm_(grad_NV.T, hidden_ND[part])
                else:
                    grad_weight_VD += grad_NV.T @ hidden_ND[part]
            if grad_bias_V is not None:
                grad_bias_V += grad_NV.sum(0)
        return grad_hidden_ND, grad_weight_VD, grad_bias_V, None, None, None, None


def _logits(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    temperature: float,
    softcap: float | None,
) -> Tensor:
    bias_V = None if bias_V is None else bias_V.to(hidden_ND.dtype)
    logits_NV = at_least_fp32(F.linear(hidden_ND, weight_VD.to(hidden_ND.dtype), bias_V))
    if softcap is not None:
        logits_NV = torch.tanh(logits_NV / softcap) * softcap
    return logits_NV if temperature == 1.0 else logits_NV / temperature


def _grad_logits(
    all_NV: Tensor,
    labels_N: Tensor,
    grad_logprobs_N: Tensor | None,
    grad_entropy_N: Tensor | None,
    entropy_N: Tensor,
) -> Tensor:
    """Gradient at the logits, from the log-probabilities of the whole vocabulary."""
    probs_NV = all_NV.exp()
    if grad_entropy_N is None:
        assert grad_logprobs_N is not None
        grad_NV = probs_NV * -grad_logprobs_N.unsqueeze(-1)
    else:
        coefficient_NV = (all_NV + entropy_N.unsqueeze(-1)) * grad_entropy_N.unsqueeze(-1)
        if grad_logprobs_N is not None:
            coefficient_NV += grad_logprobs_N.unsqueeze(-1)
        grad_NV = probs_NV * -coefficient_NV
    if grad_logprobs_N is not None:
        grad_NV.scatter_add_(-1, labels_N.unsqueeze(-1), grad_logprobs_N.unsqueeze(-1))
    return grad_NV
