"""Continuations against a naive greedy loop."""

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.evaluation.continuations import continue_texts, cut_at

MODEL, TOKENIZER = make_policy(), make_tokenizer()
TEXTS = ["The cat sat on", "ask: Name a prime number.\nreply:"]


def _naive(text, number):
    ids = list(TOKENIZER(text)["input_ids"])
    written = []
    for _ in range(number):
        with torch.no_grad():
            written.append(
                int(MODEL(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax())
            )
        if written[-1] == TOKENIZER.eos_token_id:
            break
    return TOKENIZER.decode(written, skip_special_tokens=True)


def test_continuations_follow_the_model_to_the_limit():
    expected = [_naive(text, 40) for text in TEXTS]
    assert continue_texts(MODEL, TOKENIZER, TEXTS, max_new_tokens=40) == expected
    short = continue_texts(MODEL, TOKENIZER, TEXTS, max_new_tokens=5)
    assert short == [_naive(text, 5) for text in TEXTS]


@pytest.mark.parametrize("place", [3, 35])
def test_a_stop_string_cuts_wherever_it_comes(place):
    whole = _naive(TEXTS[0], 40)
    stop = whole[place : place + 2]
    expected = [whole.partition(stop)[0], _naive(TEXTS[1], 40).partition(stop)[0]]
    assert continue_texts(MODEL, TOKENIZER, TEXTS, until=(stop,), max_new_tokens=40) == expected


def test_a_long_text_loses_its_beginning():
    room = MODEL.config.max_position_embeddings
    ids = TOKENIZER("The cat sat on the mat. " * room)["input_ids"]
    tail = TOKENIZER.decode(ids[-(room - 4) :])
    assert TOKENIZER(tail)["input_ids"] == ids[-(room - 4) :]
    long, cut = continue_texts(MODEL, TOKENIZER, [TOKENIZER.decode(ids), tail], max_new_tokens=4)
    assert long == cut
    with pytest.raises(ValueError, match="do not fit"):
        continue_texts(MODEL, TOKENIZER, ["a"], max_new_tokens=room)


def test_the_earliest_stop_string_cuts():
    assert cut_at("one. two\nthree", ("\n", ".")) == "one"
    assert cut_at("one", ("\n", "")) == "one"
