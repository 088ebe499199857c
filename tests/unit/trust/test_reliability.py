"""Labelers' reliability: by hand, planted noise recovered, careless people of the tiny world."""

import random

import pytest

from understudy.trust.agreement import Vote
from understudy.trust.reliability import LEAST_WEIGHT, consensus


def planted(people, num_units, seed=0, ties=0.2, per_unit=3):
    """Votes of `people` (name -> right, wrong, tie when tied) on units of known truth."""
    rng = random.Random(seed)
    votes, truth = [], {}
    for number in range(num_units):
        true = 0 if rng.random() < ties else rng.choice([-1, 1])
        truth[f"p{number}", "a", "b"] = true
        for name in rng.sample(sorted(people), per_unit):
            right, wrong, tie = people[name]
            draw = rng.random()
            if true == 0:
                value = 0 if draw < tie else rng.choice([-1, 1])
            else:
                value = true if draw < right else -true if draw < right + wrong else 0
            votes.append(Vote(f"p{number}", "a", "b", value, name))
    return votes, truth


PEOPLE = {
    "sure": (0.9, 0.05, 0.7),
    "good": (0.8, 0.1, 0.6),
    "shy": (0.6, 0.05, 0.9),
    "fair": (0.7, 0.2, 0.5),
    "coin": (0.45, 0.45, 0.1),
}


def test_planted_noise_is_recovered():
    votes, _ = planted(PEOPLE, 3000)
    found = consensus(votes).trust
    for name, (right, wrong, tie) in PEOPLE.items():
        assert found[name].right == pytest.approx(right, abs=0.05), name
        assert found[name].wrong == pytest.approx(wrong, abs=0.05), name
        assert found[name].tie == pytest.approx(tie, abs=0.1), name
        assert found[name].accuracy == pytest.approx(right / (right + wrong), abs=0.04), name
        assert found[name].num_shared == sum(vote.labeler_id == name for vote in votes)


def test_few_votes_recover_little():
    """The condition of the claim above: at 120 votes a labeler, estimates are off by far more."""
    found = [consensus(planted(PEOPLE, 200, seed=seed)[0]).trust for seed in range(6)]
    worst = max(abs(f[name].right - PEOPLE[name][0]) for f in found for name in PEOPLE)
    assert 0.05 < worst < 0.25


def test_the_estimate_is_nearer_the_truth_than_the_majority():
    people = {**PEOPLE, "coin 2": (0.45, 0.45, 0.1), "coin 3": (0.45, 0.45, 0.1)}
    votes, truth = planted(people, 1500, ties=0.0)
    found = consensus(votes).truth
    by_unit = {}
    for vote in votes:
        by_unit.setdefault(vote.unit, []).append(vote.value)
    majority = [sum(by_unit[unit]) * true > 0 for unit, true in truth.items()]
    estimated = [(found[unit][2] - found[unit][0]) * true > 0 for unit, true in truth.items()]
    assert sum(estimated) > sum(majority) + 30


def test_the_chances_are_calibrated():
    votes, truth = planted(PEOPLE, 3000)
    sure = [(p[t + 1], t) for p, t in ((p, truth[u]) for u, p in consensus(votes).truth.items())]
    # The mean chance given to what is true is that of a calibrated guess: sum p = sum p^2.
    found = consensus(votes).truth.values()
    assert sum(chance for chance, _ in sure) == pytest.approx(
        sum(p * p for chances in found for p in chances), rel=0.03
    )


def test_weights_average_one_and_are_never_nothing():
    weights = consensus(planted(PEOPLE, 2000)[0]).weights()
    assert sum(weights.values()) / len(weights) == pytest.approx(1, abs=0.02)
    assert weights["sure"] > weights["fair"] > weights["coin"]
    assert weights["coin"] < 0.2
    contrary = {**PEOPLE, "contrary": (0.1, 0.8, 0.5)}
    found = consensus(planted(contrary, 2000)[0]).weights()
    assert found["contrary"] == LEAST_WEIGHT == min(found.values())


def test_nobody_shares_anything():
    alone = [Vote("p", "a", "b", 1, "x"), Vote("q", "a", "b", 1, "y")]
    assert (consensus(alone).trust, consensus(alone).truth, consensus(alone).weights()) == (
        {},
        {},
        {},
    )


def test_a_newcomer_is_drawn_to_the_team():
    votes, _ = planted({name: PEOPLE[name] for name in ("sure", "good", "fair")}, 500)
    wrong_once = Vote(votes[0].prompt_id, "a", "b", -votes[0].value or 1, "newcomer")
    found = consensus([*votes, wrong_once])
    assert found.trust["newcomer"].num_shared == 1
    assert found.trust["newcomer"].accuracy > 0.75


def test_known_truths_count_for_items_with_one_vote():
    votes = [Vote(f"p{i}", "a", "b", 1 if i < 45 else -1, "x") for i in range(50)]
    votes += [Vote(f"p{i}", "a", "b", 1 if i % 2 else -1, "y") for i in range(50)]
    known = {(f"p{i}", "a", "b"): 1 for i in range(50)}
    found = consensus(votes, known)
    assert found.trust["x"].accuracy > 0.8 > 0.65 > found.trust["y"].accuracy
    assert found.truth["p0", "a", "b"] == (0, 0, 1)
    assert consensus([votes[0]], known).trust["x"].num_shared == 1


def test_the_estimate_does_not_depend_on_names_or_sides():
    votes, _ = planted(PEOPLE, 300)
    turned = [Vote(v.prompt_id, v.second, v.first, -v.value, v.labeler_id) for v in votes[::-1]]
    one, other = consensus(votes).trust, consensus(turned).trust
    for name in PEOPLE:
        assert one[name].right == pytest.approx(other[name].right, abs=1e-4)
        assert one[name].tie == pytest.approx(other[name].tie, abs=1e-4)
