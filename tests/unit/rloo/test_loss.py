import math

import pytest
import torch
from benchmarks.trl_losses import BETAS
from tests.rollouts import ROWS, SCORES_GK, recorded_episodes, recorded_step

from understudy.rloo.loss import leave_one_out, rloo_loss


def test_advantages_by_hand():
    rewards = torch.tensor([[3.0, 0.0, 6.0], [1.0, 1.0, 1.0]])
    # 3 - (0 + 6) / 2, 0 - (3 + 6) / 2, 6 - (3 + 0) / 2
    expected = torch.tensor([[0.0, -4.5, 4.5], [0.0, 0.0, 0.0]])
    assert torch.equal(leave_one_out(rewards), expected)


def test_loss_by_hand():
    """Ratios of whole responses: e^0.3 (clipped to 1.2), and e^-0.5 with a negative advantage."""
    new = torch.tensor([-1.0, -1.0, -2.5])
    old = torch.tensor([-1.1, -1.2, -2.0])
    rows = torch.tensor([0, 0, 1])
    loss, metrics = rloo_loss(new, old, rows, torch.tensor([2.0, -1.0]), clip=0.2, num_rows=2)
    # max(-2 * e^0.3, -2 * 1.2) = -2.4; max(1 * e^-0.5, 1 * 0.8) = 0.8
    assert math.exp(0.3) > 1.2
    assert math.exp(-0.5) < 0.8
    assert float(loss) == pytest.approx((-2.4 + 0.8) / 2)
    assert float(metrics["clip_fraction"]) == 1.0
    assert float(metrics["policy_loss"]) == pytest.approx(-0.8)


def test_at_a_ratio_of_one_the_gradient_is_reinforces():
    new = torch.tensor([-1.0, -0.5, -2.0, -0.1], requires_grad=True)
    advantages, rows = torch.tensor([1.5, -0.7]), torch.tensor([0, 1, 1, 1])
    loss, _ = rloo_loss(new, new.detach(), rows, advantages, clip=0.2, num_rows=2)
    loss.backward()
    expected = torch.tensor([-1.5, 0.7, 0.7, 0.7]) / 2  # -A per token, mean over responses
    assert torch.allclose(new.grad, expected)


def test_loss_and_gradient_are_trls():
    """Recorded with TRL 1.16 by benchmarks/trl_losses.py."""
    episodes = recorded_episodes()
    rewards = SCORES_GK.flatten() - BETAS["rloo"] * episodes.kl_B()
    advantages = leave_one_out(rewards.view(-1, 2)).flatten()

    def loss_of(batch, new):
        old = episodes.take(episodes.old_logprobs_BR, batch)
        of_rows = advantages[batch.rows_B]
        return rloo_loss(new, old, batch.row_N, of_rows, clip=0.2, num_rows=len(ROWS))

    metrics, norm = recorded_step(episodes, loss_of)
    assert metrics["policy_loss"] == pytest.approx(0.1194981038570404, abs=1e-4)
    assert norm == pytest.approx(9.216420987347993, rel=1e-4)
