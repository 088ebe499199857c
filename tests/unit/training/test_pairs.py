import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.training.pairs import make_pairs, pairwise_loss


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_two_prompts_by_hand():
    # Prompt 1: scores 1, 0 and one pair. Prompt 2: scores 2, 0, 1 with best 0, then 1 and 2 tied.
    scores = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0])
    pairs = make_pairs([2, 3], [[(0, 1)], [(0, 1), (0, 2)]], None, 2)
    loss, sums = pairwise_loss(scores, pairs)
    first = -math.log(sigmoid(1.0))
    second = -(math.log(sigmoid(2.0)) + math.log(sigmoid(1.0))) / 2
    assert loss.item() == pytest.approx((first + second) / 2)
    assert (sums["right"], sums["pairs"], sums["margin"]) == (3, 3, 4)


def test_a_wrong_order_and_equal_scores_are_counted():
    pairs = make_pairs([3], [[(0, 1), (0, 2)]], None, 1)
    _, sums = pairwise_loss(torch.tensor([1.0, 2.0, 1.0]), pairs)
    assert sums["right"] == 0.5


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-100, 100))
def test_a_shift_changes_nothing(scores, shift):
    scores = torch.tensor(scores, dtype=torch.float64)
    pairs = make_pairs([4], [[(0, 1), (0, 2), (3, 2)]], [[(1, 3)]], 1)
    for width in (0.0, 0.5):
        loss, _ = pairwise_loss(scores, pairs, width)
        shifted, _ = pairwise_loss(scores + shift, pairs, width)
        assert loss.item() == pytest.approx(shifted.item(), abs=1e-9)


@given(st.floats(-6, 6), st.floats(0.05, 3))
def test_win_tie_and_loss_probabilities_sum_to_one(difference, width):
    scores = torch.tensor([difference, 0.0], dtype=torch.float64)
    losses = [
        pairwise_loss(scores, make_pairs([2], [won], [tied], 1), width)[0].item()
        for won, tied in ([[(0, 1)], []], [[(1, 0)], []], [[], [(0, 1)]])
    ]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1.0, abs=1e-6)
    assert losses[0] == pytest.approx(-math.log(sigmoid(difference - width)))


def test_a_modelled_tie_pulls_scores_together():
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    loss, sums = pairwise_loss(scores, make_pairs([2], [[]], [[(0, 1)]], 1), 0.5)
    loss.backward()
    assert scores.grad[0] > 0 > scores.grad[1]  # descent lowers the higher one
    assert sums["pairs"] == 0


def test_weights_sum_to_one_over_the_batch():
    pairs = make_pairs([2, 3], [[(0, 1)], [(0, 1), (0, 2)]], [[], [(1, 2)]], 2)
    assert pairs.weight_P.sum().item() == pytest.approx(1.0)
    assert pairs.tied_P.tolist() == [False, False, False, True]
    assert pairs.better_P.tolist() == [0, 2, 2, 3]


def test_margins_and_weights_by_hand():
    # Prompt 1 weighs 3 and its better one must lead by 2 * 0.5; prompt 2 weighs 1, margin 0.
    scores = torch.tensor([1.0, 0.0, 2.0, 0.0])
    pairs = make_pairs([2, 2], [[(0, 1)], [(0, 1)]], None, 4.0, [3.0, 1.0], [[2.0], [0.0]])
    loss, sums = pairwise_loss(scores, pairs, margin=0.5)
    first, second = -math.log(sigmoid(1.0 - 1.0)), -math.log(sigmoid(2.0))
    assert loss.item() == pytest.approx((3 * first + second) / 4)
    assert sums["margin"] == 3  # what is logged is the lead itself
    without, _ = pairwise_loss(scores, pairs)
    assert without.item() < loss.item()
