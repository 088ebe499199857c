"""Benchmarks on random models against a naive reference, and the text metrics by hand."""

import json

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from understudy.evaluation.benchmarks import (
    ITEMS,
    Benchmark,
    Item,
    choice_means,
    encode_choice,
    first_line,
    generate_answers,
    item_of,
    main_score,
    normalise,
    read_benchmark,
    run_all,
    run_benchmark,
    word_f1,
    write_items,
)

MODEL, TOKENIZER = make_policy(), make_tokenizer()
ITEM = Item(
    question="Where does Anna live?", answers=("Lund",), choices=("Lund", "in the old house")
)


def _naive_mean(context, choice):
    ids = [*context, *choice]
    with torch.no_grad():
        logprobs = MODEL(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(context), len(ids))
    return sum(float(logprobs[t - 1, ids[t]]) for t in places) / len(choice)


def _naive_means(item):
    return [_naive_mean(*encode_choice(TOKENIZER, item.prompt, c)) for c in item.choices]


def test_mean_logprob_is_per_token_of_the_choice_whatever_the_batch():
    other = Item(question="2 + 2 =", answers=("4",), choices=("3", "four", "4"))
    expected = [_naive_means(ITEM), _naive_means(other)]
    for batch_tokens in (8192, 1):
        means = choice_means(MODEL, TOKENIZER, [ITEM, other], batch_tokens)
        for found, wanted in zip(means, expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-5)


def test_the_highest_mean_is_picked_and_kept():
    means = _naive_means(ITEM)
    best = ITEM.choices[means.index(max(means))]
    right = Item(question=ITEM.question, choices=ITEM.choices, answers=(best,))
    outcome = run_benchmark(MODEL, TOKENIZER, Benchmark("b", (right,)))
    assert main_score(outcome.scores).rate == 1
    assert outcome.items[0]["pick"] == best
    assert outcome.items[0]["right"]
    assert outcome.items[0]["mean_logprobs"] == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "choice", "before", "scored"),
    [
        ("Anna lives in", "Lund", "Anna lives in", " Lund"),
        ("Anna lives in ", "Lund", "Anna lives in", " Lund"),
        ("Anna lives in", " Lund", "Anna lives in", " Lund"),
        ("Anna:\n", "Lund", "Anna:\n", "Lund"),
        ("Anna:", "\nLund", "Anna:\n", "Lund"),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_only_the_choices_tokens_count_in_the_joined_text(
    prompt, choice, before, scored, fast, monkeypatch
):
    if not fast:  # without offsets the newline counts where the prompt ends in it
        monkeypatch.setattr(type(TOKENIZER), "is_fast", False)
        scored = "\nLund" if "\n" in prompt + choice else scored
        before = before.rstrip("\n")
    context, ids = encode_choice(TOKENIZER, prompt, choice)
    assert (TOKENIZER.decode(context), TOKENIZER.decode(ids)) == (before, scored)
    assert [*context, *ids] == TOKENIZER(before + scored)["input_ids"]


def test_a_sentencepiece_like_tokenizer_sees_one_text():
    raw = RawTokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(special_tokens=["<unk>", "</s>"], show_progress=False)
    raw.train_from_iterator(["fish live in the sea", "birds live in the sky"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>")
    context, ids = encode_choice(tokenizer, "fish live in", "the sea")
    assert [*context, *ids] == tokenizer("fish live in the sea")["input_ids"]
    assert "".join(tokenizer.convert_ids_to_tokens(ids)) == "\u2581the\u2581sea"


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
    outcome = run_benchmark(MODEL, TOKENIZER, Benchmark("b", (item, item)), max_new_tokens=3)
    assert set(outcome.scores) == {"exact_match", "f1"}
    assert main_score(outcome.scores).n == 2
    assert [row["f1"] for row in outcome.items] == [main_score(outcome.scores).rate] * 2


def test_every_item_is_kept_under_its_model(tmp_path):
    scores, rows = run_all(MODEL, TOKENIZER, [Benchmark("b", (ITEM, ITEM))])
    assert scores["b"]["n"] == 2
    write_items(tmp_path, {"sft": rows, "ppo": rows})
    lines = [json.loads(line) for line in (tmp_path / ITEMS).read_text().splitlines()]
    assert [(row["model"], row["item"]) for row in lines] == [
        ("sft", 1), ("sft", 2), ("ppo", 1), ("ppo", 2),
    ]  # fmt: skip
    assert {row["pick"] for row in lines} <= set(ITEM.choices)


@pytest.mark.parametrize(
    ("text", "answer", "f1"),
    [
        ("the old house", "house", 2 / 3),  # words old, house against house: 2 * 1 / (2 + 1)
        ("A cat, a cat", "cat", 2 / 3),
        ("Lund.", "lund", 1.0),
        ("", "Lund", 0.0),
        ("the", "", 1.0),
        ("-", "+", 0.0),  # of both, normalising leaves nothing
        (" +", "+", 1.0),
        ("", "The", 0.0),
    ],
)
def test_word_f1_by_hand(text, answer, f1):
    assert word_f1(text, answer) == pytest.approx(f1)


def test_an_operator_as_answer_is_not_matched_by_another():
    item = Item(question="5 ? 3 = 8", answers=("+",))
    found = run_benchmark(MODEL, TOKENIZER, Benchmark("signs", (item,)), max_new_tokens=1)
    (row,) = found.items
    assert row["exact_match"] == float(row["text"] == "+")


def test_context_and_question_are_on_two_lines():
    passage, question = "Anna lives in Lund.", "Where does Anna live?"
    for context, text in (
        (passage, f"{passage}\n{question}"),
        (f"{passage} ", f"{passage} {question}"),
        ("", question),
    ):
        assert item_of({"context": context, "question": question, "answer": "x"}).prompt == text


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
        ValueError, match=r"facts.jsonl line 2: 'answer' is 2, but the 2 choices count"
    ):
        read_benchmark(path)
    path.write_text(json.dumps(good) + "\n" + json.dumps({"question": "q", "answer": "a"}))
    with pytest.raises(ValueError, match="all have choices, or that all have none"):
        read_benchmark(path)


CHOICE = {"question": "q", "choices": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "a"}, "'question' and 'answer' are needed; the keys are answer"),
        ({"question": "q", "choices": ["a", "b"], "answerKey": "A"}, "the keys are .*answerKey"),
        ({"question": " ", "answer": "a"}, "blank"),
        ({"question": 3, "answer": "a"}, "'question' must be text, not 3"),
        ({"question": "q", "answer": "a", "context": ["x"]}, "'context' must be text"),
        ({"question": "q", "answer": "a", "context": 0}, "'context' must be text"),
        ({"question": "q \udcff", "answer": "a"}, "surrogate"),
        ({"question": "q", "answer": []}, "empty list"),
        ({"question": "q", "answer": ""}, "text or a number"),
        ({"question": "q", "answer": True}, "text or a number, not True"),
        ({"question": "q", "answer": float("nan")}, "text or a number"),
        ({"question": "q", "answer": None}, "text or a number"),
        (CHOICE | {"answer": "c"}, "'c' is not among"),
        (CHOICE | {"answer": ["a", "c"]}, "'c' is not among"),
        (CHOICE | {"answer": "1"}, "'1' is not among the choices; give a choice's text or its"),
        (CHOICE | {"answer": True}, "its index from 0, not True"),
        (CHOICE | {"answer": 1.0}, "its index from 0, not 1.0"),
        (CHOICE | {"answer": -1}, "'answer' is -1"),
        ({"question": "q", "choices": {"text": ["a", "b"]}, "answer": 0}, "list of texts"),
        ({"question": "q", "choices": "ab", "answer": 0}, "list of texts"),
        ({"question": "q", "choices": [1, 2], "answer": 1}, "'choices' must be text, not 1"),
        ({"question": "q", "choices": ["a", "a"], "answer": 0}, "two or more different"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "two or more different"),
        ({"question": "q", "choices": ["a", " "], "answer": 0}, "blank"),
        ({"question": "q", "choices": ["a", " a"], "answer": 1}, "two or more different"),
        ({"question": "q", "options": ["a", "b"], "answer": "a"}, "'options' is not read; call it"),
        ({"question": "q", "passage": "p", "answer": "a"}, "'passage' is not read; call it 'con"),
        ({"question": "q", "answer": "4 + 1 is 5.\n#### 5"}, "'answer' has several lines"),
        ([], "must be an object"),
    ],
)
def test_item_errors(row, message):
    with pytest.raises(ValueError, match=message):
        item_of(row)


def test_what_a_row_may_say():
    assert item_of({"question": "2+2=", "answer": 4}).answers == ("4",)
    assert item_of({"question": "q", "answer": ["x", 2.5]}).answers == ("x", "2.5")
    assert item_of(CHOICE | {"answer": ["b", 0]}).answers == ("b", "a")
    assert item_of(CHOICE | {"answer": 1, "context": None}).answers == ("b",)


def test_bytes_that_editors_leave_do_not_matter(tmp_path):
    path = tmp_path / "b.jsonl"
    row = {"question": "a\u2028b \U0001f41f", "answer": "c"}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row, ensure_ascii=False).encode() + b"\r\n\r\n")
    assert read_benchmark(path).items[0].question == row["question"]
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_benchmark(path)


def test_an_item_longer_than_the_context_is_named():
    long = Item(question="word " * 300, answers=("a",), choices=("a", "b"))
    with pytest.raises(ValueError, match=r"item 2 has \d+ tokens .* context is 256"):
        choice_means(MODEL, TOKENIZER, [ITEM, long])
