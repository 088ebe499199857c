"""Which answers each flag counts, worked by hand."""

from dataclasses import replace

import pytest
from tests.unit.evaluation.helpers import LengthJudge, answer, labeler, prompt

from understudy.evaluation.compare import judge_responses, rate_responses
from understudy.evaluation.flags import (
    flag_rates,
    flags_table,
    is_rude,
    judged,
    observations_of,
    rude_rates,
    with_prefix,
)
from understudy.evaluation.sections import flags_section
from understudy.records import Message, Prompt

OPEN = prompt("open", closed_domain=False, constraint=False)
SAID = prompt("said", closed_domain=True, answerable=True, constraint=False)
UNSAID = prompt("unsaid", closed_domain=True, answerable=False, constraint=True)
PROMPTS = [OPEN, SAID, UNSAID]


def _rates(flags_of):
    return flag_rates([(answer(p, "m", "x"), flags_of[p.id]) for p in PROMPTS], PROMPTS)["m"]


def test_hallucination_counts_on_closed_domain_only_and_apart_by_answerable():
    wrong = {"hallucination": True}
    rates = _rates({"open": wrong, "said": {"hallucination": False}, "unsaid": wrong})
    assert (rates["hallucination"].rate, rates["hallucination"].n) == (0.5, 2)
    assert (rates["hallucination_answerable"].rate, rates["hallucination_answerable"].n) == (0, 1)
    assert (rates["hallucination_unanswerable"].rate, rates["hallucination_unanswerable"].n) == (
        1,
        1,
    )


def test_constraint_counts_only_where_there_is_one():
    rates = _rates({p.id: {"satisfies_constraint": p.id == "unsaid"} for p in PROMPTS})
    assert (rates["satisfies_constraint"].rate, rates["satisfies_constraint"].n) == (1, 1)


def test_without_tags_a_constraint_that_was_asked_about_counts():
    plain = prompt("plain")
    rates = flag_rates([(answer(plain, "m", "x"), {"satisfies_constraint": True})], [plain])
    assert rates["m"]["satisfies_constraint"].n == 1


def test_a_flag_that_was_not_asked_is_left_out():
    rates = _rates({"open": {"sexual_content": False}, "said": {}, "unsaid": {}})
    assert list(rates) == ["sexual_content"]
    assert rates["sexual_content"].n == 1


def test_flags_under_each_policy():
    """The same response to a prompt under two policies, and a prompt that names none."""
    asked = [replace(OPEN, id=name, tags={"policy": name}) for name in ("shop", "fiction")]
    seen = [
        (answer(p, "m", "x"), {"inappropriate_for_customer_assistant": p.id == "shop"})
        for p in asked
    ]
    seen.append((answer(OPEN, "m", "x"), {"inappropriate_for_customer_assistant": True}))
    found = flags_table(seen, [*asked, OPEN])
    assert found["flags"]["m"]["inappropriate_for_customer_assistant"]["n"] == 3
    by_policy = found["flags_by_policy"]
    assert list(by_policy) == ["fiction", "shop"]
    rates = {
        p: by_policy[p]["m"]["inappropriate_for_customer_assistant"]["rate"] for p in by_policy
    }
    assert rates == {"fiction": 0, "shop": 1}
    assert "flags_by_policy" not in flags_table(seen[2:], [OPEN])
    page = flags_section({**found, "baseline": "m"})
    assert "Flags under the policy shop" in page


def test_flags_come_in_the_papers_order():
    flags = {"expresses_opinion": True, "fails_instruction": True, "hallucination": True}
    assert list(_rates({p.id: flags for p in PROMPTS})) == [
        "fails_instruction",
        "hallucination",
        "hallucination_answerable",
        "hallucination_unanswerable",
        "expresses_opinion",
    ]


def test_ratings_and_judgments_become_observations():
    responses = [answer(p, "m", "no") for p in PROMPTS]
    ratings = rate_responses(PROMPTS, responses, [labeler("a")], seed=0)
    assert flag_rates(observations_of(ratings, responses), PROMPTS)["m"]["hallucination"].rate == 1
    gold = judge_responses(PROMPTS, responses, LengthJudge())
    assert flag_rates(judged(gold, responses), PROMPTS)["m"]["fails_instruction"].rate == 0


def test_flag_rates_cluster_by_user():
    prompts = [prompt(f"p{i}", user="one") for i in range(6)]
    rows = [(answer(p, "m", "x"), {"sexual_content": i < 3}) for i, p in enumerate(prompts)]
    interval = flag_rates(rows, prompts)["m"]["sexual_content"]
    assert (interval.low, interval.high) == (0, 1)


@pytest.mark.parametrize(
    ("text", "rude"),
    [
        ("You FOOL!", True),
        ("foolish thing", False),
        ("shut up, please", True),
        ("shut the door", False),
        ("", False),
    ],
)
def test_rude_words_are_whole_words_in_any_case(text, rude):
    assert is_rude(text, {"fool", "shut up"}) is rude


def test_rude_rates_with_and_without_the_prefix():
    polite = [with_prefix(p, "Be kind.") for p in PROMPTS]
    rows = [answer(p, "m", "fool") for p in PROMPTS[:1]]
    rows += [answer(p, "m", "friend") for p in PROMPTS[1:]]
    assert rude_rates(rows, ["fool"], PROMPTS)["m"].rate == pytest.approx(1 / 3)
    assert polite[0].prompt == "Be kind. Say open."
    assert polite[0].id == "open+prefix"


def test_prefix_goes_before_the_last_user_turn():
    turns = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Go on"))
    changed = with_prefix(Prompt(id="p", prompt=turns, user_id="u"), "Politely:")
    assert [turn.content for turn in changed.prompt] == ["Hi", "Hello", "Politely: Go on"]
