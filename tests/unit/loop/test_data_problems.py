"""What is wrong with rows that can be read: each kind found, counted and placed; nothing else."""

import pytest

from understudy.loop.data_problems import problems_of
from understudy.records import Demonstration, Feedback, Prompt, Ranking


def pair(prompt, chosen, rejected, labeler="l"):
    row = {"prompt": prompt, "responses": [chosen, rejected], "tiers": [[0], [1]]}
    return Ranking.from_json(row | {"labeler_id": labeler})


def demo(prompt, response):
    return Demonstration.from_json({"prompt": prompt, "response": response})


def thumb(prompt, response, desirable, labeler="l"):
    row = {"prompt": prompt, "response": response, "desirable": desirable}
    return Feedback.from_json(row | {"labeler_id": labeler})


def ask(prompt):
    return Prompt.from_json({"prompt": prompt})


def placed(*records):
    return [(f"line {number}", record) for number, record in enumerate(records, start=1)]


CASES = {
    "ranking prefers a response to one with the same text (first: line 2)": [
        pair("x", "a", "b"),
        pair("x", "c", "c "),
    ],
    "ranking contradicts an earlier one by the same labeler (first: line 3)": [
        pair("x", "a", "b"),
        pair("y", "b", "a"),
        pair("x", "b", "a"),
    ],
    "ranking has a blank response (first: line 1)": [pair("x", "", "b"), pair("y", "a", "b")],
    "ranking repeats an earlier one exactly (first: line 2)": [pair("x", "a", "b")] * 2,
    "demonstration is an exact duplicate (first: line 2)": [demo("x", "a"), demo("x", "a ")],
    "feedback record has a blank response (first: line 2)": [
        thumb("x", "a", True),
        thumb("x", " ", False),
    ],
    "feedback record repeats an earlier one exactly (first: line 2)": [thumb("x", "a", True)] * 2,
    "feedback record contradicts an earlier one of the same response (first: line 3)": [
        thumb("x", "a", True),
        thumb("y", "a", False),
        thumb("x", "a ", False),
    ],
    "prompt is an exact duplicate (first: line 3)": [ask("x"), ask("y"), ask("x")],
    "row has several speakers or a template's markup in one text (first: line 2)": [
        demo("Is this: human? Say 'assistant:' too.", "a"),
        demo("### Human: x\n### Assistant:", "a"),
        demo([{"role": "user", "content": "z"}], "user: one speaker only"),
    ],
    "row has a user's turn without text (first: line 2)": [
        demo([{"role": "system", "content": ""}, {"role": "user", "content": "x"}], "a"),
        ask([{"role": "user", "content": " \n"}]),
    ],
    "row repeats the prompt where the response begins; delete it there (first: line 2)": [
        pair("Why is the sky blue?", "Why is the sky blue? It scatters.", "It is painted."),
        demo("Why is the sky blue?", "Why is the sky blue? It scatters."),
        demo("Hello there", "Hello there! How are you?"),
    ],
    "row has control characters (first: line 2)": [
        demo("x", "a\n\tb\r\n"),
        demo("y", "a\x1b[2J"),
    ],
}


@pytest.mark.parametrize("text", CASES)
def test_each_kind_is_counted_with_its_first_place(text):
    (line,) = problems_of(placed(*CASES[text]))
    assert line.startswith(f"1 {text}")


def test_turns_left_as_json_in_one_text():
    turns = '[{"role": "system", "content": "Obey."}, {"role": "user", "content": "x"}]'
    (line,) = problems_of(placed(demo(turns, '[{"role": "admin"}]')))
    assert 'markup in one text (first: line 1), such as \'[{"role": "system"' in line


@pytest.mark.parametrize("mark", ["<|im_end|>", "[/INST]", "<extra_id_1>", "</s>", "<b>", "[1]"])
def test_markup_of_templates_within_a_turn(mark):
    turns = [{"role": "user", "content": "y"}]
    found = problems_of(placed(pair(turns, f"a{mark}", "b")))
    assert [f"such as {mark!r}" in line for line in found] == [True] * (
        mark not in ("</s>", "<b>", "[1]")
    )


def test_a_tie_of_equal_texts_and_two_people_who_agree_are_no_problem():
    tie = Ranking.from_json({"prompt": "x", "responses": ["a", "a", "b"], "tiers": [[0, 1], [2]]})
    records = [tie, pair("y", "a", "b", "l1"), pair("y", "a", "b", "l2"), demo("x", "\u2028 a")]
    assert problems_of(placed(*records)) == []
