"""Continuous batching: who joins when changes nobody's tokens; draws follow their distribution."""

import queue

import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.serving.batcher import Batcher, Job, Token, choose_tokens, keep_top_p

PROMPTS = [[5, 6, 7], [9] * 12, [20, 30], [8, 8, 4, 2, 50, 60]]


def job(prompt, emit, **changes) -> Job:
    settings = dict(max_new_tokens=14, temperature=0.9, top_p=1.0, seed=7, number=0, num_top=0)
    return Job(prompt=prompt, emit=emit, **(settings | changes))


def take(arrived: "queue.Queue[Token]") -> list[Token]:
    """Tokens until the last."""
    tokens = [arrived.get(timeout=20)]
    while not tokens[-1].last:
        tokens.append(arrived.get(timeout=20))
    return tokens


@pytest.fixture(scope="module", params=["llama", "gpt2", "mistral"])
def batcher(request):
    # No token is EOS, so that it is known how long an answer takes.
    made = Batcher(make_policy(request.param), stop_ids=[], pad_id=1, slots=3, capacity=64)
    yield made
    made.close()


def test_joining_and_leaving_change_no_tokens(batcher) -> None:
    alone = []
    for number, prompt in enumerate(PROMPTS):
        arrived: queue.Queue[Token] = queue.Queue()
        batcher.submit([job(prompt, arrived.put, number=number)])
        alone.append([token.id for token in take(arrived)])
    queues: list[queue.Queue[Token]] = [queue.Queue() for _ in PROMPTS]

    said: list[Token] = []

    def first_lets_others_in(token: Token) -> None:
        said.append(token)
        if len(said) == 3:  # in the middle of the first answer
            rest = zip(PROMPTS[1:], queues[1:], strict=True)
            batcher.submit([job(p, q.put, number=n) for n, (p, q) in enumerate(rest, start=1)])
        queues[0].put(token)

    batcher.submit([job(PROMPTS[0], first_lets_others_in)])
    together = [[token.id for token in take(arrived)] for arrived in queues]
    assert together == alone
    assert batcher.largest_batch == 3


def test_a_cancelled_job_leaves_and_one_that_waits_never_starts(batcher) -> None:
    said: list[Token] = []
    jobs: list[Job] = []

    def stop_at_three(token: Token) -> None:
        said.append(token)
        jobs[0].cancelled = len(said) >= 3

    jobs.append(job([5], stop_at_three, max_new_tokens=40, seed=11))
    never = job([6], lambda token: pytest.fail("it was cancelled"))
    never.cancelled = True
    after: queue.Queue[Token] = queue.Queue()
    batcher.submit([jobs[0], never, job([7], after.put)])
    take(after)
    assert len(said) <= 3


def test_a_failing_model_ends_its_batch_and_not_the_thread() -> None:
    policy = make_policy()
    batcher = Batcher(policy, stop_ids=[0], pad_id=1, slots=2, capacity=32)
    arrived: queue.Queue[Token] = queue.Queue()
    batcher.submit([job([10**6], arrived.put)])  # no such token
    assert take(arrived)[-1].error
    batcher.submit([job([5], arrived.put)])
    assert not take(arrived)[-1].error
    batcher.close()


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    weights = torch.tensor([[0.1, 0.5, 0.15, 0.25]] * 3)
    kept = keep_top_p(weights, torch.tensor([0.5, 0.6, 1.0]))
    expected = [[0, 0.5, 0, 0], [0, 0.5, 0, 0.25], [0.1, 0.5, 0.15, 0.25]]
    assert torch.allclose(kept, torch.tensor(expected))


def test_draws_follow_temperature_and_top_p() -> None:
    number = 4000
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(number, 3).clone()

    def share(**changes) -> list[float]:
        options = dict(temperature=1.0, seed=3) | changes
        rows = [job([1], print, number=i, **options) for i in range(number)]
        tokens = choose_tokens(logits, rows)
        return torch.bincount(tokens, minlength=3).div(number).tolist()

    assert share() == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    assert share(temperature=0.5) == pytest.approx(
        [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46], abs=0.03
    )
    assert share(top_p=0.7) == pytest.approx([2 / 3, 1 / 3, 0], abs=0.03)
    assert share(temperature=0.0) == [1, 0, 0]
