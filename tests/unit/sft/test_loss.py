import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.models.chat import Example
from understudy.sft.loss import backward_batch, mean_loss, num_targets, response_nll

ROWS = [
    Example([5, 9, 200, 31, 0], [0, 0, 0, 1, 1]),
    Example([7, 8, 0], [0, 1, 1]),
    Example([3, 4, 5, 6, 7, 8, 9, 0], [0, 1, 1, 0, 0, 0, 1, 1]),
]


def naive_loss(model):
    """Mean over response tokens of -log softmax(logits)[label], one row at a time."""
    losses = []
    for row in ROWS:
        logits = model(torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
        for t in range(1, len(row.input_ids)):
            if row.loss_mask[t]:
                losses.append(-logits[t - 1, row.input_ids[t]])
    return torch.stack(losses).mean()


def test_the_loss_is_the_mean_over_response_tokens():
    model = make_policy()
    assert num_targets(ROWS) == 8
    nll, count = response_nll(model, ROWS, pad_id=1)
    assert count == 8
    assert nll.item() / 8 == pytest.approx(naive_loss(model).item(), abs=1e-5)
    assert mean_loss(model, ROWS, 1, 16) == pytest.approx(naive_loss(model).item(), abs=1e-5)


def test_the_gradient_is_that_of_the_naive_loss_times_the_weight():
    model = make_policy()
    (0.9 * naive_loss(model)).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    loss = backward_batch(model, ROWS, 1, 12, weight=0.9)
    assert loss == pytest.approx(naive_loss(model).item(), abs=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_a_first_token_is_never_a_target():
    row = [Example([5, 9], [1, 1])]
    assert response_nll(make_policy(), row, 1)[1] == num_targets(row) == 1
