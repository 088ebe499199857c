"""Benchmarks on random models against a naive reference, and the text metrics by hand."""

import json

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.evaluation.benchmarks import (
    Benchmark,
    Item,
    encode_choice,
    first_line,
    generate_answers,
    item_of,
    main_score,
    mean_logprobs,
    normalise,
    pick_choices,
    read_benchmark,
    run_benchmark,
    word_f1,
)

MODEL, TOKENIZER = make_policy(), make_tokenizer()
ITEM = Item(
    question="Where does Anna live?", answers=("Lund",), choices=("Lund", "in the old house")
)


def _naive_mean(ids, count):
    with torch.no_grad():
        logprobs = MODEL(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(ids) - count
    return sum(float(logprobs[t - 1, ids[t]]) for t in range(start, len(ids))) / count


def test_mean_logprob_is_per_token_of_the_choice_whatever_the_batch():
    encoded = [encode_choice(TOKENIZER, ITEM.prompt, choice) for choice in ITEM.choices]
    expected = [_naive_mean(ids, count) for ids, count in encoded]
    assert mean_logprobs(MODEL, TOKENIZER, encoded) == pytest.approx(expected, abs=1e-5)
    assert mean_logprobs(MODEL, TOKENIZER, encoded, batch_tokens=1) == pytest.approx(
        expected, abs=1e-5
    )


def test_the_highest_mean_is_picked():
    means = [_naive_mean(*encode_choice(TOKENIZER, ITEM.prompt, c)) for c in ITEM.choices]
    best = ITEM.choices[means.index(max(means))]
    assert pick_choices(MODEL, TOKENIZER, [ITEM, ITEM]) == [best, best]
    right = Item(question=ITEM.question, choices=ITEM.choices, answers=(best,))
    score = run_benchmark(MODEL, TOKENIZER, Benchmark("b", (right,)))
    assert main_score(score).rate == 1


def test_a_space_joins_prompt_and_choice_once():
    ids, count = encode_choice(TOKENIZER, "Anna lives in", "Lund")
    assert TOKENIZER.decode(ids) == "Anna lives in Lund"
    assert TOKENIZER.decode(ids[-count:]) == " Lund"
    assert encode_choice(TOKENIZER, "Anna lives in ", "Lund") == (ids, count)
    newline, _ = encode_choice(TOKENIZER, "Anna:\n", "Lund")
    assert TOKENIZER.decode(newline) == "Anna:\nLund"


def test_generated_answers_follow_the_model_greedily_to_the_newline():
    item = Item(question="ask: Name a prime number.\nreply:", answers=("Seven",))
    ids = TOKENIZER(item.prompt)["input_ids"]
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(MODEL(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    text = TOKENIZER.decode(ids[len(TOKENIZER(item.prompt)["input_ids"]) :]).split("<eos>")[0]
    assert generate_answers(MODEL, TOKENIZER, [item], max_new_tokens=6) == [first_line(text)]


def test_generated_benchmark_reports_exact_match_and_f1():
    item = Item(question="Anna lives in", answers=("nowhere", "Lund"))
    scores = run_benchmark(MODEL, TOKENIZER, Benchmark("b", (item, item)), max_new_tokens=3)
    assert set(scores) == {"exact_match", "f1"}
    assert main_score(scores).n == 2


@pytest.mark.parametrize(
    ("text", "answer", "f1"),
    [
        ("the old house", "house", 2 / 3),  # words old, house against house: 2 * 1 / (2 + 1)
        ("A cat, a cat", "cat", 2 / 3),
        ("Lund.", "lund", 1.0),
        ("", "Lund", 0.0),
        ("the", "", 1.0),
    ],
)
def test_word_f1_by_hand(text, answer, f1):
    assert word_f1(text, answer) == pytest.approx(f1)


def test_normalise_and_first_line():
    assert normalise("The  Cat's an a!") == "cats"
    assert first_line(" Lund\nask: more") == "Lund"
    assert first_line("\nLund") == ""


def test_items_are_read_and_bad_ones_named(tmp_path):
    path = tmp_path / "facts.jsonl"
    good = {"context": "x\n", "question": "q", "choices": ["a", "b"], "answer": 1}
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(good | {"answer": "a"}) + "\n")
    benchmark = read_benchmark(path)
    assert benchmark.name == "facts"
    assert [item.answers for item in benchmark.items] == [("b",), ("a",)]
    assert benchmark.items[0].prompt == "x\nq"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"answer": 2}))
    with pytest.raises(
        ValueError, match=r"facts.jsonl line 2: 'answer' is 2, but there are 2 choices"
    ):
        read_benchmark(path)
    path.write_text(json.dumps(good) + "\n" + json.dumps({"question": "q", "answer": "a"}))
    with pytest.raises(ValueError, match="all have choices, or that all have none"):
        read_benchmark(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "a"}, "'question'"),
        ({"question": "q", "answer": "c", "choices": ["a", "b"]}, "'c' is not among"),
        ({"question": "q", "answer": []}, "must be text"),
        ([], "must be an object"),
    ],
)
def test_item_errors(row, message):
    with pytest.raises(ValueError, match=message):
        item_of(row)


def test_an_item_longer_than_the_context_is_named():
    with pytest.raises(ValueError, match="context is 256"):
        mean_logprobs(MODEL, TOKENIZER, [([2] * 300, 1)])
