"""Cheap tricks, made from answers that are known."""

from understudy.loop.stages.adversaries import CONSTANTS, chosen, first_sentence, rewritten
from understudy.records import Response

TEXTS = ["soup.", "a long answer.", "soup.", "soup. and bread."]
POOL = [
    Response(id=f"r{i}", prompt_id=f"p{i // 2}", prompt=f"ask {i // 2}", response=text, model="sft",
             logprob=-float(i))
    for i, text in enumerate(TEXTS)
]  # fmt: skip


def test_constants_echo_and_first_sentences_answer_every_prompt():
    tricks = rewritten(POOL, POOL)
    assert {name: [r.response for r in tricks[name]] for name in CONSTANTS} == {
        name: [text] * 4 for name, text in CONSTANTS.items()
    }
    assert [r.response for r in tricks["echo"]] == ["ask 0", "ask 0", "ask 1", "ask 1"]
    assert tricks["first_sentence"][3].response == "soup."
    assert {r.response for r in tricks["constant_commonest"]} == {"soup."}
    assert {r.model for r in tricks["echo"]} == {"echo"}


def test_one_of_several_by_length_likelihood_and_verdict():
    tricks = chosen(POOL, [0.1, 0.2, 0.4, 0.3], 2)
    texts = {name: [r.response for r in rows] for name, rows in tricks.items()}
    assert texts == {
        "shortest_of_2": ["soup.", "soup."],
        "longest_of_2": ["a long answer.", "soup. and bread."],
        "likeliest_of_2": ["soup.", "soup."],
        "verdict_of_2": ["a long answer.", "soup."],
    }


def test_the_first_sentence_of_a_question_and_of_none():
    assert first_sentence("who? me.") == "who?"
    assert first_sentence("no end") == "no end"
