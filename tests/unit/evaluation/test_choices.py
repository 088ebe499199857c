"""Scores of continuations against one plain pass each, on several architectures."""

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.evaluation.choices import encode, encode_pair, score_pairs

TOKENIZER = make_tokenizer()
PAIRS = [
    encode_pair(TOKENIZER, context, continuation)
    for context, continuations in {
        "ask: Where does Anna live?\nreply:": (" Lund", " in the old house by the river", " a"),
        "": ("The cat sat", " dog"),
        "The cat sat on the ": ("mat.", "old dog ran", "mat."),
        "alone": (" here",),
    }.items()
    for continuation in continuations
]


def _naive(model, context, continuation):
    ids = [*context, *continuation]
    with torch.no_grad():
        logprobs_TV = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    places = range(len(context) - 1, len(ids) - 1)
    greedy = all(int(logprobs_TV[t].argmax()) == ids[t + 1] for t in places)
    return sum(float(logprobs_TV[t, ids[t + 1]]) for t in places), greedy


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "mistral", "gemma2"])
@pytest.mark.parametrize("batch_tokens", [4096, 1])
def test_scores_equal_a_pass_for_each_pair(kind, batch_tokens):
    model = make_policy(kind)
    scores = score_pairs(model, PAIRS, batch_tokens)
    for score, (context, continuation) in zip(scores, PAIRS, strict=True):
        logprob, greedy = _naive(model, context, continuation)
        assert score.logprob == pytest.approx(logprob, abs=1e-4)
        assert score.is_greedy == greedy
        assert score.num_tokens == len(continuation)


def test_what_the_model_would_write_is_greedy():
    model = make_policy()
    context = PAIRS[0][0]
    with torch.no_grad():
        best = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    other = (best + 1) % 100
    found = score_pairs(model, [(context, (best,)), (context, (other,))])
    assert [score.is_greedy for score in found] == [True, False]


def test_a_long_context_loses_its_beginning():
    model = make_policy()
    room = model.config.max_position_embeddings
    ids = torch.randint(2, 300, (room + 40,), generator=torch.Generator().manual_seed(0)).tolist()
    long, tail = (tuple(ids[:-3]), tuple(ids[-3:])), (tuple(ids[-room - 1 : -3]), tuple(ids[-3:]))
    assert score_pairs(model, [long]) == score_pairs(model, [tail])
    with pytest.raises(ValueError, match="a choice has"):
        score_pairs(model, [((5,), tuple(ids))])


def test_white_space_at_the_end_goes_with_the_continuation():
    joined = encode_pair(TOKENIZER, "The cat", " sat")
    assert encode_pair(TOKENIZER, "The cat ", "sat") == joined
    assert TOKENIZER.decode(joined[1]) == " sat"
    newline = encode_pair(TOKENIZER, "The cat\n", "sat")
    assert TOKENIZER.decode(newline[1]) == "\nsat"


def test_an_empty_context_is_bos_or_eos():
    (start,), ids = encode_pair(TOKENIZER, "", "The cat")
    assert start == TOKENIZER.eos_token_id
    assert list(ids) == encode(TOKENIZER, "The cat")
    with pytest.raises(ValueError, match="has no tokens"):
        encode_pair(TOKENIZER, "The cat", "")
