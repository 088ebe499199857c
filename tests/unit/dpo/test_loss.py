import pytest
import torch
from benchmarks.trl_losses import BETA, PAIRS, sine_model
from tests.fixtures_models import make_policy
from torch.nn.functional import logsigmoid

from understudy.dpo.loss import batch_sums
from understudy.models.policies import Policy
from understudy.training.rankings import Element
from understudy.training.responses import known_logprobs


def element(prompt, responses, pairs, weight=1.0):
    return Element(
        prompt_ids=prompt,
        response_ids=responses,
        pairs=pairs,
        margins=[1.0] * len(pairs),
        ties=[],
        labeler_id="l",
        labeler_role="training",
        prompt_key="p",
        weight=weight,
    )


ROWS = [
    element([5, 9, 21], [[7, 3, 0], [11, 0], [4, 4, 4, 0]], [(0, 1), (0, 2), (1, 2)], 2.0),
    element([8, 30], [[4, 0], [6, 6, 13, 17, 0]], [(1, 0)]),
    element([12, 14, 15, 16], [[19], [20, 0]], [(0, 1)], 0.5),
]


def logprob(model, prompt, response):
    """log p(response | prompt), one token at a time."""
    ids = [*prompt, *response]
    logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logits[t - 1, ids[t]] for t in range(len(prompt), len(ids)))


def naive_loss(model, reference):
    """The paper's equation 7, pair by pair."""
    total, weights = 0.0, sum(row.weight for row in ROWS)
    for row in ROWS:
        losses = []
        for better, worse in row.pairs:
            scores = []
            for index in (better, worse):
                response = row.response_ids[index]
                known = logprob(reference, row.prompt_ids, response).detach()
                scores.append(BETA * (logprob(model, row.prompt_ids, response) - known))
            losses.append(-logsigmoid(scores[0] - scores[1]))
        total = total + row.weight * torch.stack(losses).mean() / weights
    return total


@pytest.mark.parametrize("micro_batch_tokens", [1, 20, 4096])
def test_loss_and_gradient_are_the_papers_however_a_batch_is_divided(micro_batch_tokens):
    model, other = make_policy(seed=0), make_policy(seed=1)
    loss = naive_loss(model, other)
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    reference = known_logprobs(other, ROWS, 1, micro_batch_tokens)
    sums = batch_sums(model, ROWS, reference, 1, BETA, micro_batch_tokens)
    assert float(sums["loss"]) == pytest.approx(loss.item(), abs=1e-6)
    assert int(sums["pairs"]) == 5
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_a_policy_that_is_its_reference_has_a_loss_of_log_2_and_no_preference():
    model = make_policy()
    reference = known_logprobs(model, ROWS, 1, 64)
    with torch.no_grad():
        sums = batch_sums(model, ROWS, reference, 1, BETA, 64)
    assert float(sums["loss"]) == pytest.approx(0.693147, abs=1e-5)
    assert float(sums["margin"]) == pytest.approx(0.0, abs=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_one_batch_of_pairs_gives_what_trl_gives():
    """Recorded with TRL 1.16 by benchmarks/trl_losses.py."""
    rows = [
        element(pair["prompt_ids"], [pair["chosen_ids"], pair["rejected_ids"]], [(0, 1)])
        for pair in PAIRS
    ]
    model, other = (Policy(sine_model(phase)) for phase in (0.0, 0.5))
    reference = known_logprobs(other, rows, 1, 4096)
    sums = batch_sums(model, rows, reference, 1, BETA, 4096)
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    better = sums["better"] / 3
    assert float(sums["loss"]) == pytest.approx(0.5889749526977539, abs=1e-5)
    assert float(norm) == pytest.approx(1.5767114162445068, rel=1e-4)
    assert float(better) == pytest.approx(0.05916748568415642, abs=1e-4)
    assert float(better - sums["margin"] / 3) == pytest.approx(-0.37108612060546875, abs=1e-4)
    assert float(sums["right"] / 3) == pytest.approx(0.6666666865348816)
