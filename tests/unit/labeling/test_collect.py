"""Who labels what: loads, overlap, roles, and what comes back."""

from collections import Counter

import pytest
from tests.unit.trust.people import Person, prompt, responses

from understudy.labeling.collect import assign, collect_demonstrations, collect_rankings

TEAM = [Person(f"l{i}") for i in range(5)]
PROMPTS = [prompt(i) for i in range(40)]


def test_assignment_shares_the_overlap_and_balances_loads():
    assigned = assign(103, 5, overlap=0.15, labels=3, seed=0)
    sizes = Counter(len(members) for members in assigned)
    assert sizes == {3: 15, 1: 88}
    assert all(len(set(members)) == len(members) for members in assigned)
    loads = Counter(member for members in assigned for member in members)
    assert max(loads.values()) - min(loads.values()) <= 1
    assert assign(103, 5, overlap=0.15, labels=3, seed=0) == assigned
    assert assign(103, 5, overlap=0.15, labels=3, seed=1) != assigned


def test_overlap_needs_enough_labelers():
    with pytest.raises(ValueError, match="3 labels per calibration item"):
        assign(10, 2, overlap=0.2, seed=0)
    with pytest.raises(ValueError, match="overlap is 15"):
        assign(10, 5, overlap=15, seed=0)


def test_demonstrations_are_one_per_prompt_less_the_skipped():
    found = collect_demonstrations(TEAM, PROMPTS, seed=0)
    assert [d.prompt_id for d in found] == [p.id for p in PROMPTS if p.id != "p13"]
    assert {d.split for d in found} == {"train"}
    assert set(Counter(d.labeler_id for d in found).values()) <= {7, 8}


def test_rankings_carry_role_and_split_and_their_own_order():
    found = collect_rankings(TEAM, PROMPTS, responses(PROMPTS), overlap=0.2, seed=0)
    counts = Counter(r.prompt_id for r in found)
    assert sorted(Counter(counts.values()).items()) in ([(1, 31), (3, 8)], [(1, 32), (3, 7)])
    assert {(r.labeler_role, r.split) for r in found} == {("training", "train")}
    assert len({r.responses for r in found}) > 10
    best = {r.responses[r.tiers[0][0]] for r in found}
    assert best == {"3"}
    assert collect_rankings(TEAM, PROMPTS, responses(PROMPTS), overlap=0.2, seed=0) == found


def test_equal_texts_are_shown_once_and_lone_responses_not_at_all():
    double = [
        *responses(PROMPTS[:1], k=3),
        *responses(PROMPTS[:1], k=2),
        *responses(PROMPTS[1:2], 1),
    ]
    (ranking,) = collect_rankings(TEAM, PROMPTS[:2], double, overlap=0, seed=0)
    assert sorted(ranking.responses) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("role", "split", "allowed"),
    [
        ("training", "train", True),
        ("training", "valid", True),
        ("training", "test", False),
        ("held_out", "train", False),
        ("held_out", "valid", True),
        ("held_out", "test", True),
        ("held_out", None, False),
        ("training", None, False),
    ],
)
def test_roles_label_only_their_splits(role, split, allowed):
    prompts, team = [prompt(1, split)], [Person("l", role)]
    if allowed:
        assert len(collect_demonstrations(team, prompts, seed=0)) == 1
        assert len(collect_rankings(team, prompts, responses(prompts), overlap=0, seed=0)) == 1
    else:
        with pytest.raises(ValueError, match=f"{role} labeler l may not label prompt p1"):
            collect_rankings(team, prompts, responses(prompts), overlap=0, seed=0)


def test_one_held_out_labeler_in_a_training_team_is_refused():
    with pytest.raises(ValueError, match="held_out labeler h may not label"):
        collect_demonstrations([*TEAM, Person("h", "held_out")], PROMPTS, seed=0)
    with pytest.raises(ValueError, match="no labelers"):
        collect_demonstrations([], PROMPTS, seed=0)
