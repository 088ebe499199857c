"""Log-probs of responses, passes of a batch, limits."""

from dataclasses import dataclass

import pytest
import torch
from tests.fixtures_models import KINDS, make_policy, make_tokenizer

from understudy.training.responses import (
    encode_within,
    known_logprobs,
    passes_of,
    response_logprobs,
)


@dataclass
class Row:
    prompt_ids: list[int]
    response_ids: list[list[int]]


@dataclass
class Record:
    prompt: str
    responses: list[str]


ROWS = [
    Row([5, 9, 21], [[7, 3, 0], [11, 0], [4, 4, 4, 0]]),
    Row([8, 30], [[4, 0], [6, 6, 13, 17, 0]]),
    Row([12, 14, 15, 16], [[19], [20, 0]]),
]


def logprob(model, prompt, response):
    """log p(response | prompt), one token at a time."""
    ids = [*prompt, *response]
    logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logits[t - 1, ids[t]] for t in range(len(prompt), len(ids)))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_are_those_of_one_row_at_a_time(kind):
    model = make_policy(kind).eval()
    expected = [
        float(logprob(model, row.prompt_ids, response))
        for row in ROWS
        for response in row.response_ids
    ]
    assert response_logprobs(model, ROWS, 1).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("micro_batch_tokens", [1, 20, 4096])
def test_known_log_probs_come_back_by_prompt_without_gradients(micro_batch_tokens):
    model = make_policy()
    known = known_logprobs(model, ROWS, 1, micro_batch_tokens)
    assert [len(part) for part in known] == [3, 2, 2]
    assert not any(part.requires_grad for part in known)
    expected = response_logprobs(model, ROWS, 1).detach().double()
    torch.testing.assert_close(torch.cat(known), expected, rtol=0, atol=1e-5)
    assert known_logprobs(model, [], 1, 64) == []


def test_passes_hold_every_prompt_once_with_all_its_responses():
    passes = passes_of(ROWS, 20)
    assert sorted(index for some in passes for index in some) == [0, 1, 2]
    for some in passes:
        longest = max(len(ROWS[i].prompt_ids) + max(map(len, ROWS[i].response_ids)) for i in some)
        assert len(some) == 1 or longest * sum(len(ROWS[i].response_ids) for i in some) <= 20
    assert len(passes_of(ROWS, 4096)) == 1


def test_long_prompts_are_left_out_and_long_responses_cut():
    tokenizer = make_tokenizer()
    texts = ["the cat", "the cat sat on the mat", "a dog"]
    responses = [["yes", "the old house by the river"], ["no"], ["a"]]

    records = [Record(*pair) for pair in zip(texts, responses, strict=True)]

    def fits(context, most_prompt=10):
        found = encode_within(
            tokenizer,
            records,
            lambda record: record.responses,
            max_prompt_tokens=most_prompt,
            max_response_tokens=5,
            context=context,
            where="f.jsonl",
        )
        pairs = list(found)
        assert [record for record, _ in pairs] == records
        return [fit for _, fit in pairs]

    first, long, third = fits(None)
    assert long is None
    assert [first[2], third[2]] == [1, 0]
    assert [len(ids) for ids in first[1]] == [len(first[1][0]), 5]
    assert third[1][0][-1] == 0
    room = len(first[0]) + 2
    assert max(len(ids) for ids in fits(room)[0][1]) == 2
    with pytest.raises(ValueError, match=r"f.jsonl record 2: the prompt .* has .* tokens"):
        fits(room, most_prompt=100)
