import numpy as np
import pytest
import torch
from scipy import stats

from understudy.engines.noise import draw, num_numbers, stream_states, uniforms


def numbers(seed, keys, steps, count):
    """(keys, steps, count) uniform numbers."""
    states, steps = stream_states(seed, keys), np.array(steps)
    rows = uniforms(np.repeat(states, len(steps)), np.tile(steps, len(keys)), count)
    return rows.reshape(len(keys), len(steps), count)


def draws(weights_V, seed, keys, steps):
    """(keys, steps) tokens drawn by the same weights."""
    u = numbers(seed, keys, steps, num_numbers(len(weights_V)))
    rows = u.reshape(-1, u.shape[2])
    tokens = [
        draw(weights_V.expand(len(part), -1), torch.from_numpy(part))[0]
        for part in np.array_split(rows, max(1, len(rows) // 1000))
    ]
    return torch.cat(tokens).view(len(keys), len(steps))


def test_depends_on_seed_key_and_step_only():
    keys = [(3, 1), (3, 2), (7,)]
    whole = numbers(5, keys, range(6), 4)
    assert np.array_equal(whole[1, 4:], numbers(5, [(3, 2)], [4, 5], 4)[0])
    assert np.array_equal(whole[:, :, :2], numbers(5, keys, range(6), 2))
    assert len(np.unique(whole)) == whole.size
    assert not (numbers(6, keys, range(6), 4) == whole).any()
    assert not (numbers(5, [(3,)], range(9), 1) == numbers(5, [(3, 0)], range(9), 1)).any()


def test_numbers_are_uniform_and_never_reach_the_ends():
    u = numbers(0, [(i,) for i in range(200)], range(250), 4).ravel()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    # The smallest of 200,000 is about 1 / 200,000: no coarse grid near the ends.
    assert 0.01 < u.min() * len(u) < 10
    assert 0.01 < (1 - u.max()) * len(u) < 10


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_the_extreme_words_stay_between_the_ends(word, monkeypatch):
    monkeypatch.setattr("understudy.engines.noise.mix", lambda words: np.full_like(words, word))
    u = uniforms(stream_states(0, [(1,)]), np.array([0]), 4)
    assert (u > 0).all()
    assert (u < 1).all()
    for size in (1, 16, 17, 5000):
        weights = torch.zeros(1, size)
        weights[0, size // 2] = 1e-30
        assert draw(weights, torch.from_numpy(u))[0] == size // 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_independent(axis):
    u = numbers(1, [(i,) for i in range(128)], range(128), 8)
    first, second = np.delete(u, -1, axis).ravel(), np.delete(u, 0, axis).ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / len(first) ** 0.5
    # Pairs fill the unit square evenly, not only without a linear trend.
    table, _, _ = np.histogram2d(first, second, bins=16, range=[[0, 1]] * 2)
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 255, 256, 257, 3000, 49_153])
def test_a_token_of_probability_one_is_always_drawn(size):
    for token in {0, size // 3, size - 1}:
        weights = torch.zeros(size)
        weights[token] = 1.0
        assert (draws(weights, 0, [(47,), (-1, 3)], range(50)) == token).all()


def test_weights_that_are_not_numbers_still_name_a_token():
    for size in (3, 50, 257):
        tokens = draws(torch.full((size,), float("nan")), 0, [(1,)], range(9))
        assert ((tokens >= 0) & (tokens < size)).all()


def test_far_counters_draw_a_token_of_probability_one():
    weights = torch.zeros(1000)
    weights[777] = 1.0
    steps = [1_837_577, 1_837_578, 1_837_579, 2**31, 2**40]
    assert (draws(weights, 0, [(47,)], steps) == 777).all()


@pytest.mark.parametrize(("axis", "size"), [(0, 16), (1, 16), (0, 300), (1, 50), (1, 3000)])
def test_draws_follow_the_weights(axis, size):
    """Chi-square of 200,000 draws against a softmax, along sequences and along steps."""
    num = 200_000
    weights = torch.softmax(torch.randn(size, generator=torch.Generator().manual_seed(3)) * 2, 0)
    keys, steps = ([(i,) for i in range(num)], [0]) if axis == 0 else ([(9,)], range(num))
    counts = torch.bincount(draws(weights, 11, keys, steps).ravel(), minlength=size).numpy()
    expected = (weights.double() / weights.double().sum() * num).numpy()
    # Rare tokens together: chi-square wants at least five expected draws per cell.
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if not rare.any():
        counts, expected = counts[:-1], expected[:-1]
    assert stats.chisquare(counts, expected, sum_check=False).pvalue > 1e-3


def test_successive_draws_are_independent():
    tokens = draws(torch.softmax(torch.arange(40) / 16, 0), 2, [(5,)], range(40_000)).ravel()
    eighths = (tokens // 5).numpy()
    table = np.zeros((8, 8))
    np.add.at(table, (eighths[:-1], eighths[1:]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_totals_are_the_sums():
    weights = torch.rand(3, 1237, generator=torch.Generator().manual_seed(0))
    _, totals = draw(weights, torch.full((3, num_numbers(1237)), 0.5, dtype=torch.float64))
    assert torch.allclose(totals, weights.double().sum(dim=1), rtol=1e-6)


def test_rounding_in_the_weights_rarely_changes_a_draw():
    """What another batch shape does to logits. One cumulative sum changes about 80 of these."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50_000, generator=generator) * 2.5
    other = logits + torch.randn(50_000, generator=generator) * 3e-5
    keys = [(i,) for i in range(5000)]
    changed = draws(logits.exp(), 0, keys, [0]) != draws(other.exp(), 0, keys, [0])
    assert changed.sum() <= 4


@pytest.mark.parametrize(("size", "count"), [(1, 2), (256, 2), (257, 4), (65_536, 4), (65_537, 6)])
def test_numbers_of_a_draw(size, count):
    assert num_numbers(size) == count
