import math

import pytest
import torch

from understudy.ppo.losses import policy_loss, value_loss


def test_policy_loss_by_hand():
    """Ratios 1, 1.5, 1.5, 0.5, 0.5 with clip 0.2.

    Losses -A * ratio or -A * clipped, the larger: -1, -1.2 (clipped), 1.5, -0.5, 0.8 (clipped).
    """
    ratios = torch.tensor([1.0, 1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0])
    old = torch.full((5,), -2.0)
    loss, metrics = policy_loss(old + ratios.log(), old, advantages, clip=0.2, num_tokens=5)
    assert loss == pytest.approx((-1 - 1.2 + 1.5 - 0.5 + 0.8) / 5)
    assert metrics["clip_fraction"] == pytest.approx(2 / 5)
    assert metrics["ratio"] == pytest.approx(1.0)
    expected_kl = (2 * (0.5 - math.log(1.5)) + 2 * (-0.5 - math.log(0.5))) / 5
    assert metrics["approx_kl"] == pytest.approx(expected_kl, abs=1e-6)


def test_policy_gradient_is_the_advantage_at_ratio_one_and_zero_where_clipped():
    new = torch.tensor([-1.0, -1.0, -0.5, -2.0], requires_grad=True)
    old = torch.full((4,), -1.0)
    loss, _ = policy_loss(new, old, torch.tensor([2.0, -3.0, 1.0, -1.0]), clip=0.2, num_tokens=4)
    loss.backward()
    assert torch.allclose(new.grad, torch.tensor([-0.5, 0.75, 0.0, 0.0]))


def test_value_loss_by_hand():
    """Returns 1. Value 0.9 from 0.5 clips to 0.7: error 0.09 beats 0.01; 0.4 does not clip."""
    new, old, returns = torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.5]), torch.ones(2)
    loss, metrics = value_loss(new, old, returns, value_clip=0.2, num_tokens=2)
    assert loss == pytest.approx(0.5 * (0.09 + 0.36) / 2)
    assert metrics["value_clip_fraction"] == pytest.approx(0.5)
    loss, metrics = value_loss(new, old, returns, value_clip=None, num_tokens=2)
    assert loss == pytest.approx(0.5 * (0.01 + 0.36) / 2)
    assert metrics["value_clip_fraction"] == 0


def test_rounding_is_not_clipping():
    generator = torch.Generator().manual_seed(0)
    old, new = 0.03 * torch.randn(2, 1000, generator=generator)
    assert (old + (new - old) != new).any()
    _, metrics = value_loss(new, old, torch.zeros(1000), value_clip=0.2, num_tokens=1000)
    assert metrics["value_clip_fraction"] == 0


def test_parts_add_up_to_the_whole():
    torch.manual_seed(0)
    new, old, target = torch.randn(3, 9).unbind()
    for loss in (
        lambda s: policy_loss(new[s], old[s], target[s], clip=0.2, num_tokens=9),
        lambda s: value_loss(new[s], old[s], target[s], value_clip=0.2, num_tokens=9),
    ):
        whole, metrics = loss(slice(None))
        parts = [loss(slice(0, 4)), loss(slice(4, 9))]
        assert sum(value for value, _ in parts) == pytest.approx(float(whole), abs=1e-6)
        for name, value in metrics.items():
            assert sum(m[name] for _, m in parts) == pytest.approx(float(value), abs=1e-6)
