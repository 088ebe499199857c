import pytest
import torch

from understudy.ppo.advantages import advantages_and_returns, explained_variance, gae

REWARDS = torch.tensor([[0.0, -0.5, 2.0], [1.0, 7.0, 7.0]])
VALUES = torch.tensor([[0.5, 1.0, 1.5], [0.25, 7.0, 7.0]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def test_gae_by_hand():
    """lambda 0.5, discount 1. Row 0: deltas 0.5, 0, 0.5 backwards: A = 0.5, 0.25, 0.625."""
    advantages, returns = gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=0.5)
    assert torch.allclose(advantages, torch.tensor([[0.625, 0.25, 0.5], [0.75, 0.0, 0.0]]))
    assert torch.allclose(returns, torch.tensor([[1.125, 1.25, 2.0], [1.0, 0.0, 0.0]]))


def test_discount_by_hand():
    """Discount and lambda 0.5: deltas 0, -0.75, 0.5; A = 0.5, -0.75 + 0.125, 0 - 0.15625."""
    advantages, _ = gae(REWARDS[:1], VALUES[:1], MASK[:1], discount=0.5, gae_lambda=0.5)
    assert torch.allclose(advantages, torch.tensor([[-0.15625, -0.625, 0.5]]))


def test_lambda_one_is_return_minus_value_and_lambda_zero_is_one_step():
    advantages, returns = gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=1.0)
    assert torch.allclose(returns[0], torch.tensor([1.5, 1.5, 2.0]))
    assert torch.allclose(advantages[0], returns[0] - VALUES[0])
    advantages, _ = gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=0.0)
    assert torch.allclose(advantages[0], torch.tensor([0.5, 0.0, 0.5]))


def test_padding_changes_nothing():
    wide = [
        torch.nn.functional.pad(x, (0, 3), value=float(v))
        for x, v in ((REWARDS, 5), (VALUES, 5), (MASK, 0))
    ]
    narrow = gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=0.95)
    for a, b in zip(gae(*wide, discount=1.0, gae_lambda=0.95), narrow, strict=True):
        assert torch.equal(a[:, :3], b)
        assert (a[:, 3:] == 0).all()


def options(**changes):
    base = dict(discount=1.0, gae_lambda=0.95, whiten_rewards=False, whiten_advantages=False)
    return base | changes


def test_whitened_advantages_have_mean_0_and_variance_1_over_tokens():
    torch.manual_seed(0)
    mask = torch.rand(6, 5) < 0.7
    rewards, values = torch.randn(6, 5), torch.randn(6, 5)
    plain, returns, _ = advantages_and_returns(rewards, values, mask, **options())
    white, same_returns, _ = advantages_and_returns(
        rewards, values, mask, **options(whiten_advantages=True)
    )
    kept = white[mask]
    assert kept.mean() == pytest.approx(0, abs=1e-6)
    assert kept.var(correction=0) == pytest.approx(1, abs=1e-4)
    assert (white[~mask] == 0).all()
    assert torch.equal(returns, same_returns)
    scale = (plain[mask] - plain[mask].mean()) / kept
    assert torch.allclose(scale, scale[0].expand_as(scale), rtol=1e-3)


def test_whitened_rewards_keep_their_mean():
    torch.manual_seed(0)
    mask = torch.ones(6, 1, dtype=torch.bool)
    rewards, zeros = torch.randn(6, 1) * 3 + 2, torch.zeros(6, 1)
    _, returns, _ = advantages_and_returns(rewards, zeros, mask, **options(whiten_rewards=True))
    assert returns.mean() == pytest.approx(float(rewards.mean()), abs=1e-5)
    assert returns.var(correction=0) == pytest.approx(1, abs=1e-4)


def test_explained_variance():
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[1, 1, 1, 0]])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.ones(1, 4), returns, mask) == 0
    # Errors 0, 0, 3: variance 2 against the returns' 2/3.
    bad = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    assert explained_variance(bad, returns, mask) == pytest.approx(1 - 2 / (2 / 3), abs=1e-6)
    assert explained_variance(bad, torch.ones(1, 4), mask) == 0
