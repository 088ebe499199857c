"""Head-to-head with labelers whose preferences are known."""

import pytest
from tests.unit.evaluation.helpers import LengthJudge, answer, labeler, prompt

from understudy.evaluation.compare import (
    IDENTICAL,
    first_shown_rate,
    gold_comparer,
    head_to_head,
    judge_responses,
    likert_by_model,
    outcome,
    rate_responses,
    score_by_model,
    win_rate_table,
    win_rates,
)
from understudy.records import Comparison

PROMPTS = [prompt(f"p{i}", user=f"u{i % 5}") for i in range(40)]
SFT = [answer(p, "sft", "four") for p in PROMPTS]
LONGER = [answer(p, "long", "longer") for p in PROMPTS]
SHORTER = [answer(p, "short", "ab") for p in PROMPTS]
SAME = [answer(p, "same", "four") for p in PROMPTS]


def _compare(seed=0, models=None, **options):
    people = [labeler(f"h{i}") for i in range(3)]
    models = models or {"long": LONGER, "short": SHORTER, "same": SAME}
    groups = {"held_out": people, "gold": [gold_comparer(LengthJudge())]}
    return people, head_to_head(PROMPTS, models, SFT, groups, seed=seed, **options)


def test_win_rates_of_a_known_preference():
    _, judged = _compare()
    for group in ("held_out", "gold"):
        rates = win_rates(judged[group], PROMPTS)
        assert {model: i.rate for model, i in rates.items()} == {"long": 1, "short": 0, "same": 0.5}
        assert rates["long"].n == 40


def test_the_table_has_the_mean_per_user_beside_the_mean_per_prompt():
    people = {"gold": [gold_comparer(LengthJudge())]}
    prompts = [prompt("a1", user="a"), prompt("a2", user="a"), prompt("b", user="b")]
    sft = [answer(p, "sft", "four") for p in prompts]
    model = [answer(p, "m", "longer" if p.id == "b" else "ab") for p in prompts]
    judged = head_to_head(prompts, {"m": model}, sft, people, seed=0)["gold"]
    (row,) = win_rate_table(judged, prompts).values()
    assert row["rate"] == pytest.approx(1 / 3)
    assert row["n"] == 3
    assert (row["per_user"]["rate"], row["per_user"]["n"]) == (0.5, 2)


def test_order_is_shuffled_per_comparison_and_fixed_by_the_seed():
    _, judged = _compare(seed=3)
    firsts = [
        c.first_model for c in judged["held_out"] if "long" in (c.first_model, c.second_model)
    ]
    assert 8 < firsts.count("long") < 32
    assert _compare(seed=3)[1] == judged
    assert _compare(seed=4)[1] != judged


def test_order_of_the_input_does_not_change_what_is_shown():
    people = [labeler("h")]
    first = head_to_head(PROMPTS, {"long": LONGER}, SFT, {"g": people}, seed=0)["g"]
    second = head_to_head(PROMPTS[::-1], {"long": LONGER[::-1]}, SFT, {"g": people}, seed=0)["g"]
    assert sorted(first, key=lambda c: c.prompt_id) == sorted(second, key=lambda c: c.prompt_id)


def test_one_labeler_per_comparison_the_same_for_every_model():
    people, judged = _compare()
    assert sum(len(one.seen) for one in people) == 80  # 40 prompts x 2 models with other texts
    assert all(8 <= len(one.seen) <= 46 for one in people)
    asked = {}
    for comparison in judged["held_out"]:
        if comparison.labeler_id != IDENTICAL:
            asked.setdefault(comparison.prompt_id, set()).add(comparison.labeler_id)
    assert all(len(ids) == 1 for ids in asked.values())


def test_several_labels_go_to_different_people():
    _, judged = _compare(models={"long": LONGER}, labels_per_comparison=3)
    ids = [c.labeler_id for c in judged["held_out"] if c.prompt_id == "p0"]
    assert sorted(ids) == ["h0", "h1", "h2"]
    assert sum(c.prompt_id == "p0" for c in judged["gold"]) == 1  # a single judge is asked once
    with pytest.raises(ValueError, match="1 labeler cannot give 2 labels for one"):
        rate_responses(PROMPTS, LONGER, [labeler("a")], seed=0, labels_per_response=2)


def test_equal_texts_tie_without_asking():
    people, judged = _compare(models={"same": SAME})
    assert not any(one.seen for one in people)
    assert {c.preferred for c in judged["held_out"]} == {"tie"}
    assert {c.labeler_id for c in judged["gold"]} == {IDENTICAL}


def test_a_missing_answer_names_the_prompt():
    with pytest.raises(ValueError, match="prompt p39: long has 0 responses and the baseline 1"):
        _compare(models={"long": LONGER[:-1]})


def _row(preferred, first="ppo", second="sft"):
    return Comparison(
        prompt_id="p", prompt="Hi", first="a", second="b", preferred=preferred,
        labeler_id="l", first_model=first, second_model=second,
    )  # fmt: skip


@pytest.mark.parametrize(("preferred", "won"), [("first", 1), ("tie", 0.5), ("second", 0)])
def test_outcome_does_not_depend_on_the_order(preferred, won):
    assert outcome(_row(preferred), "sft") == ("ppo", won)
    assert outcome(_row(preferred).swap(), "sft") == ("ppo", won)


@pytest.mark.parametrize(("first", "second"), [("ppo", "base"), ("sft", "sft"), ("ppo", None)])
def test_outcome_needs_exactly_one_baseline(first, second):
    with pytest.raises(ValueError, match="must be the baseline 'sft'"):
        outcome(_row("tie", first, second), "sft")


def test_first_shown_rate_shows_a_position_bias():
    assert (
        first_shown_rate([_row("first"), _row("first"), _row("tie"), _row("second")]).rate == 0.625
    )


def test_likert_and_gold_means_by_model():
    ratings = rate_responses(
        PROMPTS, [*LONGER, *SHORTER], [labeler("a"), labeler("b")], seed=0, labels_per_response=2
    )
    means = likert_by_model(ratings, [*LONGER, *SHORTER], PROMPTS)
    assert (means["long"].rate, means["short"].rate, means["long"].n) == (6, 2, 80)
    judgments = judge_responses(PROMPTS, LONGER, LengthJudge())
    gold = score_by_model({k: j.total for k, j in judgments.items()}, LONGER, PROMPTS)
    assert gold["long"].rate == 6


def test_a_response_to_an_unknown_prompt_is_refused():
    with pytest.raises(ValueError, match="is to p0, an unknown prompt"):
        judge_responses(PROMPTS[1:], LONGER, LengthJudge())
