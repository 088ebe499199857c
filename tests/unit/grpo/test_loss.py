import math

import pytest
import torch
from benchmarks.trl_losses import BETAS
from tests.rollouts import ROWS, SCORES_GK, recorded_episodes, recorded_step

from understudy.grpo.loss import group_advantages, grpo_loss


def test_advantages_by_hand():
    scores = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    # Standard deviation of 1 and 3 with n - 1: the square root of 2.
    side = 1 / (math.sqrt(2) + 1e-4)
    expected = torch.tensor([[-side, side], [0.0, 0.0]])
    assert torch.allclose(group_advantages(scores, scale=True), expected)
    assert group_advantages(scores, scale=False).tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_loss_by_hand():
    """Two responses, of two tokens and of one: a response's mean first, then their mean."""
    new = torch.tensor([-1.0, -1.0, -2.0])
    old = torch.tensor([-1.0, -1.5, -2.0])
    ref = torch.tensor([-1.0, -1.0, -1.0])
    loss, metrics = grpo_loss(
        new,
        old,
        ref,
        torch.tensor([0, 0, 1]),
        torch.tensor([1.0, -2.0]),
        clip=0.2,
        beta=0.5,
        num_rows=2,
    )
    # Ratios 1, e^0.5 (clipped to 1.2), 1; surrogates -1, -1.2 and 2.
    surrogate = ((-1.0 - 1.2) / 2 + 2.0) / 2
    # The reference is e times likelier at the last token: e - 1 - 1.
    penalty = 0.5 * (0.0 + (math.e - 2)) / 2
    assert float(loss) == pytest.approx(surrogate + penalty, rel=1e-5)
    assert float(metrics["policy_loss"]) == pytest.approx(surrogate, rel=1e-5)
    assert float(metrics["kl_penalty"]) == pytest.approx(penalty, rel=1e-5)
    assert float(metrics["clip_fraction"]) == pytest.approx(0.25)


def test_loss_and_gradient_are_trls():
    """Recorded with TRL 1.16 by benchmarks/trl_losses.py."""
    episodes = recorded_episodes()
    advantages = group_advantages(SCORES_GK, scale=True).flatten()

    def loss_of(batch, new):
        old, ref = (
            episodes.take(grid, batch)
            for grid in (episodes.old_logprobs_BR, episodes.ref_logprobs_BR)
        )
        settings = dict(clip=0.2, beta=BETAS["grpo"], num_rows=len(ROWS))
        return grpo_loss(new, old, ref, batch.row_N, advantages[batch.rows_B], **settings)

    metrics, norm = recorded_step(episodes, loss_of)
    loss = metrics["policy_loss"] + metrics["kl_penalty"]
    assert loss == pytest.approx(1.9367070198059082, abs=1e-4)
    assert norm == pytest.approx(9.583354791894479, rel=1e-4)
