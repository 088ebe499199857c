import numpy as np
import pytest
import torch
from scipy import stats

from understudy.core.noise import exponential, stream_words, vocabulary_words


def noise(seed, keys, num_steps, size):
    low, high = stream_words(seed, keys, num_steps)
    return exponential(low.flatten(), high.flatten(), vocabulary_words(size)).view(
        len(keys), num_steps, size
    )


def test_depends_on_seed_key_and_step_only():
    keys = [(3, 1), (3, 2), (7,)]
    whole = noise(5, keys, 6, 33)
    alone = noise(5, [(3, 2)], 2, 33)
    assert torch.equal(whole[1, :2], alone[0])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(noise(6, keys, 6, 33), whole)
    assert not torch.equal(noise(5, [(3,)], 1, 9), noise(5, [(3, 0)], 1, 9))


def test_is_exponential_and_finite():
    x = noise(0, [(i,) for i in range(200)], 10, 100).flatten().numpy()
    assert np.isfinite(x).all()
    assert (x > 0).all()
    assert stats.kstest(x, "expon").pvalue > 1e-3
    # The lower tail decides the draw: the smallest of 200,000 should be about 1 / 200,000.
    assert 0.01 < x.min() * len(x) < 10


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_uncorrelated(axis):
    x = noise(1, [(i,) for i in range(64)], 64, 64)
    u = torch.exp(-x)
    first, second = u.narrow(axis, 0, 63).flatten(), u.narrow(axis, 1, 63).flatten()
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert abs(correlation) < 4 / len(first) ** 0.5
    # Pairs fill the unit square evenly, not only without a linear trend.
    table, _, _ = np.histogram2d(first.numpy(), second.numpy(), bins=16, range=[[0, 1]] * 2)
    assert stats.chisquare(table.flatten()).pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1])
def test_draws_follow_the_weights(axis):
    """Chi-square of draws against a softmax, along sequences and along steps."""
    size, num = 50, 40_000
    weights = torch.softmax(torch.randn(size, generator=torch.Generator().manual_seed(3)) * 2, 0)
    keys, steps = ([(i,) for i in range(num)], 1) if axis == 0 else ([(9,)], num)
    draws = (weights / noise(11, keys, steps, size)).argmax(-1).flatten()
    counts = torch.bincount(draws, minlength=size).numpy()
    assert stats.chisquare(counts, (weights * num).numpy(), sum_check=False).pvalue > 1e-3


def test_successive_draws_are_independent():
    size, num = 8, 40_000
    weights = torch.softmax(torch.arange(8) / 4, 0)
    draws = (weights / noise(2, [(5,)], num, size)).argmax(-1).flatten().numpy()
    table = np.zeros((size, size))
    np.add.at(table, (draws[:-1], draws[1:]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_large_vocabulary_has_no_repeated_words():
    words = vocabulary_words(200_000)
    assert len(words.unique()) == 200_000
