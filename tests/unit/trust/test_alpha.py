"""Alpha: a published example, the `krippendorff` package, and what is undefined."""

import random

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.trust.agreement import Vote
from understudy.trust.alpha import alpha
from understudy.trust.pairs import Mark

# Four observers, twelve units, from Krippendorff (2011), section C; None is a missing label.
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
METRICS = ("nominal", "ordinal", "interval")


@pytest.mark.parametrize(
    ("metric", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example(metric, expected):
    assert alpha(_marks(EXAMPLE), metric).value == pytest.approx(expected, abs=5e-4)


def _marks(table, prompt_of=str):
    return [
        Mark(unit, prompt_of(unit), f"l{labeler}", value)
        for labeler, row in enumerate(table)
        for unit, value in enumerate(row)
        if value is not None
    ]


TABLES = st.integers(2, 5).flatmap(
    lambda labelers: st.integers(2, 12).flatmap(
        lambda units: st.lists(
            st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=units, max_size=units),
            min_size=labelers,
            max_size=labelers,
        )
    )
)


@given(TABLES, st.sampled_from(METRICS))
@settings(max_examples=60, deadline=None)
def test_the_same_as_the_krippendorff_package(table, metric):
    found = alpha(_marks(table), metric).value
    data = np.array([[np.nan if v is None else v for v in row] for row in table], float)
    shared = data[:, (~np.isnan(data)).sum(0) > 1]
    if len(np.unique(shared[~np.isnan(shared)])) < 2:
        assert found is None
    else:
        theirs = krippendorff.alpha(reliability_data=data, level_of_measurement=metric)
        assert found == pytest.approx(theirs, abs=1e-9)


VOTES = st.lists(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=3, max_size=3), min_size=4, max_size=9
)


@given(VOTES)
@settings(max_examples=30, deadline=None)
def test_votes_both_ways_round_as_the_package_sees_them(table):
    # The package is shown every vote twice, once with the responses exchanged.
    votes = [
        Vote("p", f"a{item}", f"b{item}", value, f"l{labeler}")
        for item, row in enumerate(table)
        for labeler, value in enumerate(row)
    ]
    exchanged = [Vote(v.prompt_id, v.second, v.first, -v.value, v.labeler_id) for v in votes]
    data = np.array(table, float).T
    both = np.concatenate([data, -data], axis=1)
    if len(np.unique(both)) > 1:
        theirs = krippendorff.alpha(reliability_data=both, level_of_measurement="ordinal")
        for asked in (votes, exchanged):
            found = alpha(asked, "ordinal", both_ways=True)
            assert found.value == pytest.approx(theirs, abs=1e-9)


def test_undefined_is_none_with_a_reason():
    equal = alpha(_marks([[1, 1], [1, 1]]), "nominal")
    assert (equal.value, equal.n, equal.undefined) == (None, 2, "all answers are equal")
    alone = alpha(_marks([[1, 2], [None, None]]), "nominal")
    assert (alone.value, alone.n) == (None, 0)
    assert "no two labelers" in alone.undefined


def test_a_number_without_an_interval_says_why():
    few = alpha(_marks([[1, 2, 3], [1, 2, 1]]), "ordinal")
    assert few.value is not None
    assert (few.low, few.high) == (None, None)
    assert "5 prompts" in few.undefined
    perfect = alpha(_marks([[1, 2] * 5, [1, 2] * 5]), "nominal")
    assert (perfect.value, perfect.low) == (1.0, None)
    assert "no labelers disagree" in perfect.undefined


def test_the_interval_counts_prompts_and_not_answers():
    # The same 20 prompts, with ten questions each that are all answered alike: no more is known.
    rng = random.Random(0)
    table = [[rng.randint(1, 2) for _ in range(20)]]
    table.append([v if rng.random() < 0.7 else 3 - v for v in table[0]])
    wide = alpha(_marks(table), "nominal")
    tenfold = [[v for v in row for _ in range(10)] for row in table]
    same = alpha(_marks(tenfold, prompt_of=lambda unit: str(unit // 10)), "nominal")
    assert same.n == 10 * wide.n
    assert same.high - same.low == pytest.approx(wide.high - wide.low, rel=0.05)


@pytest.mark.slow
def test_the_interval_covers_at_its_level():
    # Two labelers each say the truth (a fair coin) with probability 0.9: alpha = (0.8)^2 = 0.64.
    covered = 0
    for seed in range(300):
        rng = random.Random(seed)
        truth = [rng.randint(0, 1) for _ in range(60)]
        table = [[t if rng.random() < 0.9 else 1 - t for t in truth] for _ in range(2)]
        found = alpha(_marks(table), "nominal", seed=seed)
        covered += found.low <= 0.64 <= found.high
    assert 0.9 <= covered / 300 <= 0.99
