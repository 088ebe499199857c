import copy

import pytest
import torch

from understudy.training.optim import (
    SkipGuard,
    StepResult,
    TooManySkips,
    clip_and_step,
    constant_with_warmup,
    cosine_to,
    make_optimizer,
    set_lr,
)


def test_cosine_goes_from_one_to_a_tenth():
    multiplier = cosine_to(0.1)
    assert multiplier(0, 101) == 1.0
    assert multiplier(50, 101) == pytest.approx(0.55)
    assert multiplier(100, 101) == pytest.approx(0.1)
    assert multiplier(0, 1) == 1.0


def test_warmup_starts_at_a_tenth_and_stays_constant():
    multiplier = constant_with_warmup(10, start=0.1)
    assert multiplier(0) == 0.1
    assert multiplier(5) == pytest.approx(0.55)
    assert multiplier(10) == multiplier(1000) == 1.0
    assert constant_with_warmup(0)(0) == 1.0


def test_the_first_adam_step_is_lr_times_the_sign():
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, 1.0)
    set_lr(optimizer, 0.01)
    (model.weight * torch.tensor([[3.0, -2.0]])).sum().backward()
    result = clip_and_step(optimizer, model.parameters())
    assert result.grad_norm == pytest.approx(13**0.5)
    expected = before - 0.01 * torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(model.weight.detach(), expected)
    assert model.weight.grad is None


def test_weight_decay_leaves_vectors_alone():
    optimizer = make_optimizer(torch.nn.Linear(2, 2), 0.1, weight_decay=0.5)
    decays = [(g["params"][0].ndim, g["weight_decay"]) for g in optimizer.param_groups]
    assert decays == [(2, 0.5), (1, 0.0)]
    assert optimizer.defaults["betas"] == (0.9, 0.95)


def test_clipping_scales_the_gradient():
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.weight.detach().clone()
    (model.weight * torch.tensor([[3.0, 4.0]])).sum().backward()
    assert clip_and_step(optimizer, model.parameters(), max_norm=1.0).grad_norm == 5.0
    torch.testing.assert_close(model.weight.detach(), before - torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_gradient_changes_nothing(bad):
    model = torch.nn.Linear(2, 1)
    optimizer = make_optimizer(model, 0.1)
    model(torch.ones(1, 2)).sum().backward()
    clip_and_step(optimizer, model.parameters())
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    (model(torch.ones(1, 2)).sum() * bad).backward()
    assert clip_and_step(optimizer, model.parameters(), max_norm=1.0).skipped
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert str(state) == str(optimizer.state_dict())
    assert all(p.grad is None for p in model.parameters())


def test_the_guard_gives_up_after_five_in_a_row():
    guard = SkipGuard()
    for _ in range(4):
        guard.note(StepResult(float("nan"), skipped=True))
    guard.note(StepResult(1.0, skipped=False))
    assert guard.in_a_row == 0
    for _ in range(4):
        guard.note(StepResult(float("nan"), skipped=True))
    with pytest.raises(TooManySkips, match="5 steps in a row"):
        guard.note(StepResult(float("nan"), skipped=True))
