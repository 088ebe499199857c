"""The prompts that are shown side by side are those that tell most."""

from dataclasses import replace

import pytest
from tests.unit.evaluation.helpers import prompt

from understudy.evaluation.side_by_side import (
    examples,
    gains_by_people,
    gains_by_score,
    telling,
    trained_model,
    varied,
)
from understudy.records import Comparison, Response


def response(prompt_id: str, model: str, text: str) -> Response:
    key = f"{prompt_id}/{model}/{text}"
    return Response(id=key, prompt_id=prompt_id, prompt="?", response=text, model=model)


def comparison(prompt_id: str, first: str, second: str, preferred: str) -> Comparison:
    return Comparison(
        prompt_id=prompt_id, prompt="?", first="a", second="b", preferred=preferred,
        labeler_id="l", first_model=first, second_model=second,
    )  # fmt: skip


def test_the_largest_gain_the_largest_loss_and_a_typical_one_come_first():
    gains = {"a": 1.0, "b": 5.0, "c": -3.0, "d": 0.9, "e": 2.0, "f": -1.0}
    order = telling(gains)
    assert order[:3] == [("b", "largest gain"), ("c", "largest loss"), ("d", "typical")]
    assert [why for _, why in order[3:]] == ["large gain", "large loss", "typical"]
    assert sorted(key for key, _ in order) == sorted(gains)


def test_a_gain_is_not_called_a_loss():
    assert telling({"a": 1.0, "b": 2.0})[1] == ("a", "smallest gain")
    assert telling({"a": -1.0, "b": -2.0})[0] == ("a", "smallest loss")


def test_a_gain_is_the_mean_score_above_the_baseline():
    rows = [
        response("p1", "sft", "xx"),
        response("p1", "ppo", "xxxxx"),
        response("p1", "ppo", "xxx"),
        response("p2", "sft", "x"),
        response("p1", "other", "xxxxxxxxx"),
    ]
    prompts = [prompt("p1"), prompt("p2")]
    gains = gains_by_score(prompts, rows, lambda _, r: float(len(r.response)), "sft")
    assert gains == {"p1": 2.0}


def test_people_count_a_win_by_its_side_and_a_tie_half():
    rows = [
        comparison("p1", "sft", "ppo", "second"),
        comparison("p1", "ppo", "sft", "tie"),
        comparison("p2", "ppo", "sft", "second"),
        comparison("p2", "base", "sft", "first"),
    ]
    assert gains_by_people(rows, "sft") == {"p1": 0.25, "p2": -0.5}


@pytest.mark.parametrize(
    ("models", "found"),
    [
        (["base", "sft", "ppo", "ppo_ptx", "best_of_n"], "ppo_ptx"),
        (["sft", "sft_null", "mine", "tuned"], "tuned"),
        (["sft", "sft_null"], None),
    ],
)
def test_the_trained_model(models, found):
    assert trained_model(models, "sft") == found


def test_an_example_says_why_it_is_shown():
    prompts = [prompt("p1"), prompt("p2")]
    rows = [response("p1", "sft", "no"), response("p1", "ppo", "yes"), response("p2", "sft", "a")]
    (one,) = examples(prompts, rows, {"p1": 1.5}, 10, by="gold", gold=lambda _, r: 2.0)
    assert one["why"] == "largest gain: +1.50 by gold"
    assert one["answers"]["ppo"] == {"text": "yes", "gold": 2.0}


def test_without_judgements_use_cases_come_by_turns():
    cases = ["qa", "qa", "qa", "chat"]
    prompts = [prompt(f"p{i}") for i in range(4)]
    prompts = [replace(p, use_case=case) for p, case in zip(prompts, cases, strict=True)]
    assert [p.id for p in varied(prompts, 3)] == ["p0", "p3", "p1"]
    rows = [response(p.id, "sft", "a") for p in prompts]
    shown = examples(prompts, rows, {}, 2)
    assert [(row["use_case"], row["why"]) for row in shown] == [("qa", ""), ("chat", "")]
