import pytest
import torch

from understudy.ppo.rewards import adapted_beta, token_rewards


def test_rewards_by_hand():
    """KL at every token, the score on the last response token, nothing after it."""
    old = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, 9.0, 9.0]])
    ref = torch.tensor([[-1.5, -1.0, -0.5], [-3.0, 5.0, 7.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    scores = torch.tensor([2.0, -1.0])
    rewards, metrics = token_rewards(scores, old, ref, mask, beta=0.1)
    # Log-ratios 0.5, -1, 0 and 2: minus a tenth of each, plus the score at the end.
    expected = torch.tensor([[-0.05, 0.1, 2.0], [-1.2, 0.0, 0.0]])
    assert torch.allclose(rewards, expected)
    assert metrics["kl"] == pytest.approx((-0.5 + 2.0) / 2)
    assert metrics["reward"] == pytest.approx((2.05 - 1.2) / 2)
    assert metrics["score"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kl", "expected"), [(6.0, 0.1), (9.0, 0.1 * 1.01), (6.6, 0.1 * 1.005), (0.0, 0.1 * 0.99)]
)
def test_adaptive_beta_moves_at_most_a_fifth_of_its_horizon(kl, expected):
    found = adapted_beta(0.1, kl, target=6.0, horizon=10_000, episodes=500)
    assert found == pytest.approx(expected)
