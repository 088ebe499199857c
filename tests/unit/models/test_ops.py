import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.models.ops import (
    chunked_logprobs,
    entropy_of,
    logprobs_of,
    masked_mean,
    masked_var,
    whiten,
)


def test_masked_statistics_by_hand():
    x = torch.tensor([[1.0, 3.0, float("nan")], [5.0, 100.0, 7.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 1]])
    assert masked_mean(x, mask) == 4.0
    assert masked_mean(x, mask, dim=1).tolist() == [2.0, 6.0]
    assert masked_var(x, mask) == 5.0  # (9 + 1 + 1 + 9) / 4, the biased variance
    assert masked_mean(x, torch.zeros_like(mask)) == 0.0


def test_whiten_shifts_or_keeps_the_mean():
    x = torch.tensor([[1.0, 3.0, 50.0], [5.0, 7.0, 60.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0]])
    white, kept = whiten(x, mask), whiten(x, mask, shift_mean=False)
    scale = math.sqrt(5.0)
    assert torch.allclose(white[:, 0], torch.tensor([-3.0, 1.0]) / scale)
    assert torch.allclose(kept[:, 0], 4 + torch.tensor([-3.0, 1.0]) / scale)
    assert white[:, 2].tolist() == [0.0, 0.0]


def test_logprobs_and_entropy_by_hand():
    logits = torch.tensor([[[0.0, math.log(3.0)]]])
    labels = torch.tensor([[1]])
    assert logprobs_of(logits, labels).item() == pytest.approx(math.log(0.75))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert entropy_of(logits).item() == pytest.approx(expected)
    # At temperature 1/2 the odds 1:3 become 1:9.
    assert logprobs_of(logits, labels, temperature=0.5).item() == pytest.approx(math.log(0.9))


@given(
    chunk=st.sampled_from([1, 2, 5, 64]),
    temperature=st.sampled_from([0.5, 1.0]),
    with_bias=st.booleans(),
    softcap=st.sampled_from([None, 3.0]),
    keep=st.booleans(),
    entropy_weight=st.sampled_from([0.0, 0.7]),
)
def test_chunked_logprobs_equal_whole_logits(
    chunk, temperature, with_bias, softcap, keep, entropy_weight
):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 5, 6), torch.randn(11, 6), torch.randn(11)]
    labels, weights = torch.randint(11, (2, 5)), torch.randn(2, 5)

    def run(compute):
        leaves = [x.double().requires_grad_() for x in inputs]
        hidden, weight, bias = leaves
        logprobs, entropy = compute(hidden, weight, bias if with_bias else None)
        ((logprobs + entropy_weight * entropy) * weights).sum().backward()
        return [logprobs, entropy, *(x.grad for x in leaves if x.grad is not None)]

    def whole(hidden, weight, bias):
        logits = torch.nn.functional.linear(hidden, weight, bias)
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        return logprobs_of(logits, labels, temperature), entropy_of(logits, temperature)

    def chunked(hidden, weight, bias):
        return chunked_logprobs(hidden, weight, labels, temperature, chunk, bias, softcap)

    with pytest.MonkeyPatch.context() as patch:
        if not keep:
            patch.setattr("understudy.models.ops._KEEP_ELEMENTS", 0)
        got = run(chunked)
    for ours, expected in zip(got, run(whole), strict=True):
        torch.testing.assert_close(ours.double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_chunked_logprobs_never_makes_all_logits(monkeypatch):
    rows = []
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        "understudy.models.ops.F.linear", lambda x, *rest: rows.append(len(x)) or linear(x, *rest)
    )
    monkeypatch.setattr("understudy.models.ops._KEEP_ELEMENTS", 0)
    hidden, weight = torch.randn(40, 4, requires_grad=True), torch.randn(9, 4)
    chunked_logprobs(hidden, weight, torch.zeros(40, dtype=torch.long), chunk=16)[
        0
    ].sum().backward()
    assert rows == [16, 16, 8] * 2  # forward, and again in the backward pass


def test_no_positions_is_no_error():
    weight = torch.randn(9, 4, requires_grad=True)
    logprobs, _ = chunked_logprobs(torch.randn(0, 4), weight, torch.zeros(0, dtype=torch.long))
    logprobs.sum().backward()
    assert weight.grad is None or not weight.grad.any()
