import math

import pytest
import torch
from benchmarks.trl_losses import BETA, DESIRABLE, FEEDBACK, UNDESIRABLE, sine_model
from tests.fixtures_models import make_policy

from understudy.kto.data import Judged, mismatched
from understudy.kto.loss import accuracy, batch_sums, kto_losses, reference_point
from understudy.models.policies import Policy
from understudy.training.responses import known_logprobs

WEIGHTS = (BETA, 1.5, 0.5)


def judged(prompt, response, desirable):
    return Judged(prompt_ids=prompt, response_ids=[response], desirable=desirable)


ROWS = [
    judged([5, 9, 21], [7, 3, 0], True),
    judged([8, 30], [6, 6, 13, 17, 0], False),
    judged([12, 14, 15, 16], [19], True),
    judged([22, 23, 24], [10, 25, 0], False),
    judged([5, 9, 21], [4, 4, 0], False),
]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_losses_by_hand():
    rewards = torch.tensor([7.0, 2.0, -3.0, -3.0, 7.0], dtype=torch.float64)
    desirable = torch.tensor([True, True, True, False, False])
    losses = kto_losses(rewards, desirable, 2.0, 0.1, 1.0, 2.0)
    expected = [1 - sigmoid(0.5), 0.5, 1 - sigmoid(-0.5), 2 - 2 * sigmoid(0.5), 2 - 2 * 0.377541]
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)
    assert losses.dtype == torch.float64


def test_the_loss_saturates_at_both_ends_and_a_far_response_is_left_alone():
    rewards = torch.tensor([500.0, -500.0, 0.0], dtype=torch.float64, requires_grad=True)
    losses = kto_losses(rewards, torch.tensor([True] * 3), 0.0, 0.1, 2.0, 1.0)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.0, 2.0, 1.0], abs=1e-9)
    assert rewards.grad.tolist() == pytest.approx([0.0, 0.0, -2.0 * 0.1 * 0.25], abs=1e-9)


def test_the_reference_point_is_a_mean_and_never_negative():
    ours = [torch.tensor([-1.0]), torch.tensor([-2.0])]
    theirs = [torch.tensor([-4.0]), torch.tensor([-3.0])]
    assert reference_point(ours, theirs) == 2.0
    assert reference_point(theirs, ours) == 0.0
    assert reference_point([], []) == 0.0


def test_accuracy_counts_pairs_of_the_two_kinds():
    rewards = torch.tensor([1.0, 3.0, 2.0, 1.0, 0.0])
    desirable = torch.tensor([True, True, False, False, False])
    # 1 beats 0 and ties with 1; 3 beats all three
    assert accuracy(rewards, desirable) == pytest.approx((1.5 + 3) / 6)
    assert accuracy(-rewards, desirable) == pytest.approx(1 - (1.5 + 3) / 6)


def logprob(model, prompt, response):
    """log p(response | prompt), one token at a time."""
    ids = [*prompt, *response]
    logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logits[t - 1, ids[t]] for t in range(len(prompt), len(ids)))


def naive_loss(model, reference, z0):
    """The paper's equations 6 and 7, response by response."""
    beta, good, bad = WEIGHTS
    losses = []
    for row in ROWS:
        (response,) = row.response_ids
        known = logprob(reference, row.prompt_ids, response).detach()
        reward = logprob(model, row.prompt_ids, response) - known
        if row.desirable:
            losses.append(good - good * torch.sigmoid(beta * (reward - z0)))
        else:
            losses.append(bad - bad * torch.sigmoid(beta * (z0 - reward)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("micro_batch_tokens", [1, 20, 4096])
def test_loss_and_gradient_are_the_papers_however_a_batch_is_divided(micro_batch_tokens):
    model, other = make_policy(seed=0), make_policy(seed=1)
    pairs = mismatched(ROWS, None)
    z0 = reference_point(
        known_logprobs(model, pairs, 1, micro_batch_tokens),
        known_logprobs(other, pairs, 1, micro_batch_tokens),
    )
    by_hand = [
        logprob(m, pair.prompt_ids, pair.response_ids[0]).item()
        for m in (model, other)
        for pair in pairs
    ]
    assert z0 == pytest.approx(max(0.0, sum(by_hand[:5]) - sum(by_hand[5:])) / 5, abs=1e-4)
    loss = naive_loss(model, other, z0)
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    reference = known_logprobs(other, ROWS, 1, micro_batch_tokens)
    sums = batch_sums(model, ROWS, reference, z0, 1, WEIGHTS, micro_batch_tokens)
    assert float(sums["loss"]) == pytest.approx(loss.item(), abs=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_a_policy_that_is_its_reference_has_half_of_the_weights_and_no_reward():
    model = make_policy()
    reference = known_logprobs(model, ROWS, 1, 64)
    sums = batch_sums(model, ROWS, reference, 0.0, 1, WEIGHTS, 64)
    assert float(sums["loss"]) == pytest.approx((2 * 1.5 + 3 * 0.5) / 2 / 5, abs=1e-6)
    assert float(sums["desirable"]) == pytest.approx(0.0, abs=1e-5)
    assert float(sums["undesirable"]) == pytest.approx(0.0, abs=1e-5)


def test_one_batch_gives_what_trl_gives():
    """Recorded with TRL 1.16 by benchmarks/trl_losses.py."""
    rows = [judged(row["prompt_ids"], row["completion_ids"], row["label"]) for row in FEEDBACK]
    pairs = [
        judged(row.prompt_ids, before.response_ids[0], row.desirable)
        for row, before in zip(rows, [rows[-1], *rows[:-1]], strict=True)
    ]
    model, other = (Policy(sine_model(phase)) for phase in (0.0, 0.5))
    z0 = reference_point(*(known_logprobs(m, pairs, 1, 4096) for m in (model, other)))
    reference = known_logprobs(other, rows, 1, 4096)
    weights = (BETA, DESIRABLE, UNDESIRABLE)
    sums = batch_sums(model, rows, reference, z0, 1, weights, 4096)
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert z0 == pytest.approx(1.6933259963989258, abs=1e-4)
    assert float(sums["loss"]) == pytest.approx(0.5162501931190491, abs=1e-5)
    assert float(norm) == pytest.approx(0.530733048915863, rel=1e-4)
    assert float(sums["desirable"] / 2) == pytest.approx(0.08094106614589691, abs=1e-4)
    assert float(sums["undesirable"] / 2) == pytest.approx(-0.13426223397254944, abs=1e-4)
