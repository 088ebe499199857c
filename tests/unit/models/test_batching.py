import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.models.batching import (
    by_token_budget,
    derived_seed,
    pad,
    positions_of,
    ranking_batch,
    ranking_length,
    shuffled,
    tree_mask,
)


def test_pad_both_sides():
    ids, mask = pad([[5, 6], [7]], pad_id=1)
    assert ids.tolist() == [[5, 6], [7, 1]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    ids, mask = pad([[5, 6], [7]], pad_id=1, side="left")
    assert ids.tolist() == [[5, 6], [1, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]
    with pytest.raises(ValueError, match="'middle'; it must be 'right' or 'left'"):
        pad([[1]], 0, side="middle")


def test_positions_ignore_padding():
    assert positions_of(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist() == [
        [0, 0, 0, 1],
        [0, 1, 2, 2],
    ]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(10, 200))
def test_budget_groups_hold_every_row_once_and_fit(lengths, budget):
    groups = by_token_budget(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[i] for i in group)
        assert padded <= budget or len(group) == 1
    maxima = [max(lengths[i] for i in group) for group in groups]
    assert maxima == sorted(maxima, reverse=True)


def test_ragged_rows_are_not_padded_away():
    # One group of 20 rows of 100 would be 2000 tokens; apart it is 10 * 100 + 10 * 5.
    groups = by_token_budget([100] * 10 + [5] * 10, budget=4000, overhead=50)
    assert [len(group) for group in groups] == [10, 10]
    # With a dear pass, one group is cheaper.
    assert len(by_token_budget([100] * 10 + [5] * 10, budget=4000, overhead=2000)) == 1


def test_seeds_depend_on_every_part():
    seeds = {derived_seed(0, "a", 1), derived_seed(0, "a", 2), derived_seed(0, "b", 1)}
    assert len(seeds) == 3
    assert shuffled(10, 0, "x") == shuffled(10, 0, "x") != shuffled(10, 1, "x")
    assert sorted(shuffled(10, 0, "x")) == list(range(10))


def test_a_shared_row_by_hand():
    batch = ranking_batch([[10, 11]], [[[20], [30, 31]]], pad_id=1, shared=True)
    assert batch.input_ids_BT.tolist() == [[10, 11, 20, 30, 31]]
    assert batch.position_ids_BT.tolist() == [[0, 1, 2, 2, 3]]
    assert (batch.row_N.tolist(), batch.column_N.tolist()) == ([0, 0], [2, 4])
    visible = (batch.attention_mask[0, 0] == 0).int().tolist()
    assert visible == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_separate_rows_by_hand():
    batch = ranking_batch([[10, 11], [12]], [[[20], [30, 31]], [[40]]], pad_id=1, shared=False)
    assert batch.input_ids_BT.tolist() == [[10, 11, 20, 1], [10, 11, 30, 31], [12, 40, 1, 1]]
    assert batch.column_N.tolist() == [2, 3, 1]
    assert ranking_length([1, 2], [[3], [4, 5]], shared=False) == 7
    assert ranking_length([1, 2], [[3], [4, 5]], shared=True) == 5


def test_every_token_sees_something():
    mask = tree_mask(torch.tensor([[0, 1, -1, -1]]))
    assert ((mask == 0).any(-1)).all()
