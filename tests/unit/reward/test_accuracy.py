import numpy as np
import pytest

from understudy.reward.accuracy import (
    above_length,
    calibration,
    length_accuracy,
    longer_wins,
    pairwise_accuracy,
    score_per_token,
)


def test_accuracy_counts_equal_scores_as_half():
    found = pairwise_accuracy([2.0, 1.0, 0.0, 5.0], [1.0, 1.0, 1.0, 2.0])
    assert (found.rate, found.n, found.num_prompts) == (0.625, 4, 4)
    assert found.low < 0.625 < found.high


def test_without_clusters_the_interval_is_close_to_wilsons():
    better = np.concatenate([np.ones(70), np.zeros(30)])
    found = pairwise_accuracy(better, np.full(100, 0.5))
    assert found.low == pytest.approx(0.604, abs=0.003)  # Wilson for 70 of 100: 0.604 to 0.781
    assert found.high == pytest.approx(0.781, abs=0.003)


def test_copies_of_a_pair_are_not_more_evidence():
    rng = np.random.default_rng(0)
    right = (rng.random(100) < 0.7).astype(float)
    alone = pairwise_accuracy(right, np.full(100, 0.5))
    copied = pairwise_accuracy(
        np.repeat(right, 36), np.full(3600, 0.5), clusters=np.repeat(np.arange(100), 36).tolist()
    )
    assert (copied.rate, copied.num_prompts) == (alone.rate, 100)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.01)


def test_the_interval_covers_the_true_rate():
    """Prompts differ in difficulty; 95% intervals must cover the overall rate about 95% of the
    time."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        difficulty = rng.beta(4, 2, size=60)  # mean 2/3
        right = rng.random((60, 10)) < difficulty[:, None]
        found = pairwise_accuracy(
            right.ravel().astype(float), np.full(600, 0.5), np.repeat(np.arange(60), 10).tolist()
        )
        covered += found.low <= 2 / 3 <= found.high
    assert 0.91 <= covered / 300 <= 0.99


def test_all_right_still_has_an_interval():
    found = pairwise_accuracy(np.ones(10), np.zeros(10))
    assert found.rate == 1.0
    assert found.high == pytest.approx(1.0)
    assert 0.65 < found.low < 0.75  # Wilson for 10 of 10: 0.722


def test_the_slope_of_scores_on_length_by_hand():
    # Two tokens longer and 1 lower, one token shorter and 0 higher: (-2 + 0) / (4 + 1).
    assert score_per_token([1.0, 3.0], [2.0, 3.0], [5.0, 2.0], [3.0, 3.0]) == pytest.approx(-0.4)
    assert score_per_token([1.0], [0.0], [4.0], [4.0]) is None


def test_length_rule():
    longer, shorter = [5.0, 7.0, 3.0], [4.0, 6.0, 9.0]
    assert longer_wins(longer, shorter)
    assert length_accuracy(longer, shorter, None, longer_wins=True).rate == pytest.approx(2 / 3)
    assert length_accuracy(longer, shorter, None, longer_wins=False).rate == pytest.approx(1 / 3)


def test_calibration_by_hand():
    # Two pairs at confidence sigmoid(2) = 0.8808, one right: error 0.3808. One at 0.5: half right.
    found = calibration([2.0, 0.0, 1.0], [0.0, 2.0, 1.0])
    assert found.count == [1, 2]
    assert found.accuracy == [0.5, 0.5]
    assert found.confidence == pytest.approx([0.5, 0.8808], abs=1e-4)
    assert found.ece == pytest.approx(2 / 3 * 0.3808, abs=1e-4)


def test_a_calibrated_score_has_little_error():
    rng = np.random.default_rng(0)
    difference = rng.normal(0, 2, size=20_000)
    wins = rng.random(20_000) < 1 / (1 + np.exp(-difference))
    signed = np.where(wins, difference, -difference)
    assert calibration(signed, np.zeros(20_000)).ece < 0.015
    assert calibration(3 * signed, np.zeros(20_000)).ece > 0.08


def test_bad_input():
    with pytest.raises(ValueError, match="no pairs to measure"):
        pairwise_accuracy([], [])
    with pytest.raises(ValueError, match="2 pairs but 1 cluster"):
        pairwise_accuracy([1, 2], [0, 0], ["a"])
    with pytest.raises(ValueError, match="preferred scores but"):
        pairwise_accuracy([1, 2], [0])


def test_above_length_by_hand():
    """Right on 3 of 4 where the rule is right on 1; the gains are 1, 1, 0, 0."""
    scores, lengths = ([2, 2, 2, 0], [1, 1, 1, 1]), ([5, 5, 9, 5], [6, 6, 8, 6])
    found = above_length(*scores, *lengths, None, longer_wins=True)
    assert (found.rate, found.n) == (0.5, 4)
    half = 1.959964 * (4 * 0.25 / 16 * 4 / 3) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, min(1.0, 0.5 + half)))
    assert above_length(*scores, *lengths, None, longer_wins=False).rate == 0.0
    # pairs of one prompt are one observation: the interval widens
    pairs = above_length(*scores, *lengths, ["p", "p", "q", "q"], longer_wins=True)
    assert pairs.low < found.low
