"""How a batch is split, padded and ordered changes neither losses nor gradients (1e-5 in fp32)."""

import random

import pytest
import torch
from tests.fixtures_models import KINDS, make_policy

from understudy.models.chat import Example
from understudy.models.scalar import ScalarModel
from understudy.reward.train import backward_batch as reward_backward
from understudy.sft.loss import backward_batch as sft_backward
from understudy.training.rankings import Element


def examples(count=12, seed=0):
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        prompt, answer = rng.randint(1, 12), rng.randint(1, 9)
        ids = [rng.randint(2, 350) for _ in range(prompt + answer)]
        rows.append(Example(ids, [0] * prompt + [1] * answer))
    return rows


def elements(count=6, seed=0):
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        size = rng.randint(2, 5)
        ranks = [rng.randint(0, 2) for _ in range(size)]
        ranks[0], ranks[1] = 0, 1  # at least one pair
        span = range(size)
        pairs = [(i, j) for i in span for j in span if ranks[i] < ranks[j]]
        rows.append(
            Element(
                prompt_ids=[rng.randint(2, 350) for _ in range(rng.randint(1, 9))],
                response_ids=[
                    [rng.randint(2, 350) for _ in range(rng.randint(1, 6))] for _ in span
                ],
                pairs=pairs,
                margins=[float(ranks[j] - ranks[i]) for i, j in pairs],
                ties=[(i, j) for i in span for j in span if i < j and ranks[i] == ranks[j]],
                labeler_id="l",
                labeler_role="training",
                prompt_key=str(index),
            )
        )
    return rows


def gradients(model, run):
    model.zero_grad()
    value = run()
    return value, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(first, second):
    (value, grads), (other_value, other_grads) = first, second
    assert float(value) == pytest.approx(float(other_value), abs=1e-5)
    assert grads.keys() == other_grads.keys()
    scale = max(1.0, *(float(g.abs().max()) for g in grads.values()))
    for name, grad in grads.items():
        torch.testing.assert_close(grad, other_grads[name], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_sft_split_padding_side_and_order(kind):
    model, rows = make_policy(kind), examples()
    whole = gradients(model, lambda: sft_backward(model, rows, 1, 10**6))
    for variant in (
        lambda: sft_backward(model, rows, 1, 1),
        lambda: sft_backward(model, rows, 1, 50),
        lambda: sft_backward(model, rows[::-1], 1, 50),
        lambda: sft_backward(model, rows, 1, 10**6, side="left"),
        lambda: sft_backward(model, rows, 7, 10**6),  # another pad id
    ):
        assert_same(whole, gradients(model, variant))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie_width", [0.0, 0.5])
def test_reward_split_sharing_and_order(kind, tie_width, monkeypatch):
    model, rows = ScalarModel.from_policy(make_policy(kind)), elements()

    def run(batch, budget):
        metrics = reward_backward(model, batch, 1, budget, tie_width)
        return metrics["reward/loss"]

    whole = gradients(model, lambda: run(rows, 10**6))
    assert_same(whole, gradients(model, lambda: run(rows, 1)))
    assert_same(whole, gradients(model, lambda: run(rows[::-1], 60)))
    monkeypatch.setattr("understudy.models.scalar.worth_sharing", lambda *_: False)
    assert_same(whole, gradients(model, lambda: run(rows, 10**6)))


def test_the_order_of_responses_does_not_matter():
    model, row = ScalarModel.from_policy(make_policy()), elements()[0]
    size = row.size
    flipped = Element(
        prompt_ids=row.prompt_ids,
        response_ids=row.response_ids[::-1],
        pairs=[(size - 1 - i, size - 1 - j) for i, j in row.pairs],
        margins=row.margins,
        ties=[],
        labeler_id="l",
        labeler_role="training",
        prompt_key="0",
    )
    first = gradients(model, lambda: reward_backward(model, [row], 1, 100)["reward/loss"])
    assert_same(
        first, gradients(model, lambda: reward_backward(model, [flipped], 1, 100)["reward/loss"])
    )
