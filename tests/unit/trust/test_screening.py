"""Screening scores by hand, and careless labelers found."""

import pytest
from tests.unit.trust.people import Person, prompt, responses

from understudy.labeling.collect import collect_rankings
from understudy.records import Ranking, Rating
from understudy.trust.agreement import votes_of_rankings
from understudy.trust.gold import Score
from understudy.trust.screening import (
    careless_labelers,
    criteria,
    flag_agreement,
    grade,
    make_battery,
    proposal,
    ranking_agreement,
    screen,
)

PROMPTS = [prompt(i) for i in range(30)]
BATTERY = make_battery(Person("boss", "researcher"), PROMPTS, responses(PROMPTS))


def test_a_careful_candidate_passes_with_full_scores():
    result = screen(Person("careful"), BATTERY)
    assert result.passed
    assert result.info.screening == {"flags": 1.0, "ranking": 1.0, "demonstrations": 7.0}


def test_a_careless_candidate_fails_on_every_criterion():
    result = screen(Person("careless", mistakes=0.9), BATTERY)
    assert result.failed == ("flags", "ranking", "demonstrations")


def test_cutoffs_are_the_callers():
    candidate = Person("middling", mistakes=0.15)
    scores = screen(candidate, BATTERY).info.screening
    assert not screen(candidate, BATTERY, {"ranking": scores["ranking"] + 0.01}).passed
    assert screen(candidate, BATTERY, {"ranking": scores["ranking"]}).passed


def test_prompts_that_the_researcher_skips_are_not_in_the_battery():
    assert "p13" not in {p.id for p in BATTERY.prompts}
    assert len(BATTERY.prompts) == 29


def _ranking(tiers, prompt_id="p"):
    return Ranking(
        id="r",
        prompt_id=prompt_id,
        prompt="Q",
        responses=("a", "b", "c"),
        tiers=tiers,
        labeler_id="l",
    )


def test_ranking_agreement_by_hand():
    # Key a > b = c: a > b and a > c count. Candidate b > a = c: misses one, half of the other.
    key = {"p": _ranking(((0,), (1, 2)))}
    assert ranking_agreement([_ranking(((1,), (0, 2)))], key) == 0.25
    assert ranking_agreement([], key) == 0
    with pytest.raises(ValueError, match="no preference"):
        ranking_agreement([], {"p": _ranking(((0, 1, 2),))})


def _rating(**flags):
    return Rating(id="a", prompt_id="p", response_id="r", labeler_id="l", likert=4, flags=flags)


def test_flag_agreement_counts_sensitive_flags_that_the_key_answers():
    key = {"r": _rating(sexual_content=True, encourages_harm=False, hallucination=True)}
    assert flag_agreement([_rating(sexual_content=True, encourages_harm=True)], key) == 0.5
    assert flag_agreement([_rating(sexual_content=True)], key) == 0.5
    with pytest.raises(ValueError, match="have no flags"):
        flag_agreement([_rating()], {"r": _rating(hallucination=True)})


def test_no_demonstration_gets_the_lowest_grade():
    assert grade(Person("boss"), PROMPTS[0], None) == 1.0
    assert grade(Person("boss"), PROMPTS[0], Person("l").demonstrate(PROMPTS[0])) == 7.0


def test_careless_labelers_are_found_from_shared_items_and_nobody_else():
    team = [Person(f"l{i}", mistakes=0.2) for i in range(8)]
    team += [Person("bad1", mistakes=0.95), Person("bad2", mistakes=0.9)]
    prompts = [prompt(i) for i in range(200)]
    rankings = collect_rankings(team, prompts, responses(prompts), overlap=1.0, seed=0)
    assert set(careless_labelers(votes_of_rankings(rankings))) == {"bad1", "bad2"}


def test_equal_labelers_are_left_alone():
    for seed in range(3):
        team = [Person(f"s{seed}-{i}", mistakes=0.3) for i in range(10)]
        prompts = [prompt(i) for i in range(150)]
        rankings = collect_rankings(team, prompts, responses(prompts), overlap=1.0, seed=seed)
        assert careless_labelers(votes_of_rankings(rankings)) == []


def test_criteria_of_a_candidate_by_hand():
    scores = [Score(ranking=(5.0, 6), flags=(10.0, 12)), Score(ranking=(4.0, 6), flags=(9.0, 12))]
    found = criteria(scores, grades=[[7, 6], [6.0]])
    assert [(c.name, c.score, c.n, c.passes) for c in found] == [
        ("flags", 19 / 24, 24, True),
        ("ranking", 9 / 12, 12, True),
        ("demonstrations", 6.25, 2, True),
    ]
    assert proposal(found) == "pass"
    assert proposal(criteria([Score(ranking=(1.0, 6))], grades=[[7.0]])) == "fail"


def test_a_criterion_without_answers_says_so_and_waits():
    found = criteria([], grades=[[7.0]], num_ungraded=2)
    assert [(c.score, c.passes) for c in found] == [(None, None)] * 3
    assert found[2].why == "2 wait for a grade"
    assert "not answered anything" in found[0].why
    assert proposal(found) == "not_yet"
    assert (
        proposal(criteria([Score(ranking=(6.0, 6))], grades=[[6.0]], num_ungraded=1)) == "not_yet"
    )
