import pytest
import torch
from benchmarks.trl_losses import PROMPTS, RESPONSES, sine_model
from tests.rollouts import ROWS, recorded_episodes, recorded_step

from understudy.raft.train import raft_loss


def test_loss_by_hand():
    """Two passes of one step with five tokens."""
    first, metrics = raft_loss(torch.tensor([-1.0, -0.5, -2.0]), 5)
    second, _ = raft_loss(torch.tensor([-0.1, -0.4]), 5)
    assert float(first + second) == pytest.approx((1.0 + 0.5 + 2.0 + 0.1 + 0.4) / 5)
    assert float(metrics["loss"]) == pytest.approx(3.5 / 5)


def test_the_step_is_that_of_supervised_fine_tuning_on_the_responses():
    """Against transformers' own logits, a response at a time."""
    episodes = recorded_episodes()
    num_tokens = episodes.num_tokens(ROWS)
    metrics, norm = recorded_step(episodes, lambda batch, new: raft_loss(new, num_tokens))
    model, total = sine_model(0.0), 0.0
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        ids = torch.tensor([[*prompt, *response]])
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :], reduction="sum")
    loss = total / sum(map(len, RESPONSES))
    loss.backward()
    loss = loss.detach()
    squares = [float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None]
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert norm == pytest.approx(sum(squares) ** 0.5, rel=1e-4)
