"""Self-description: what is told of a team, and what never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.trust.topics import (
    FIELDS,
    check_description,
    group_weights,
    new_topics,
    suppressed,
    team_counts,
    topic_counts,
)

COUNTS = st.lists(st.integers(0, 30), min_size=2, max_size=9)


@given(COUNTS)
def test_no_small_number_is_told_or_can_be_worked_out(counts):
    told = suppressed(counts)
    assert all(count is None or count >= 5 for count in told)
    assert all(shown in (None, count) for shown, count in zip(told, counts, strict=True))
    # With the sum known to all, one hidden number would be no secret.
    assert told.count(None) != 1


def test_counts_of_a_team():
    team = [{"age": "25-34"}] * 9 + [{"age": "18-24"}] * 6 + [{"age": "55-64"}] + [{}]
    assert team_counts(team)["age"] == [
        ("18-24", 6),
        ("25-34", 9),
        ("35-44", None),
        ("45-54", None),
        ("55-64", None),
        ("65 or more", None),
    ]
    everybody = (
        [{"gender": "Woman"}] * 9 + [{"gender": "Man"}] * 7 + [{"gender": "Non-binary or other"}]
    )
    # Seventeen answered: with both others told, the last one would be too.
    assert team_counts(everybody)["gender"] == [
        ("Woman", 9),
        ("Man", None),
        ("Non-binary or other", None),
    ]


def test_several_options_count_each():
    team = [{"ethnicity": ["White", "East Asian"]}] * 5
    told = dict(team_counts(team)["ethnicity"])
    assert (told["White"], told["East Asian"], told["Indigenous"]) == (5, 5, None)


def test_only_options_are_taken():
    assert check_description({"age": "18-24", "gender": None, "ethnicity": []}) == {"age": "18-24"}
    assert check_description({"ethnicity": ["White", "White"]}) == {"ethnicity": ["White"]}
    for wrong, why in (
        ({"shoes": "9"}, "no question 'shoes'"),
        ({"age": "old"}, "'old' is not one of"),
        ({"age": ["18-24"]}, "one option"),
        ({"ethnicity": [3]}, "is not one of"),
    ):
        with pytest.raises(ValueError, match=why):
            check_description(wrong)


def test_topics_of_the_team_and_of_a_candidate():
    team = [{"religion": True, "age": False}] * 5
    assert dict(topic_counts(team))["religion"] == 5
    assert dict(topic_counts(team))["age"] is None
    assert new_topics({"religion": True, "age": True, "class": False}, team) == 1
    assert new_topics({}, team) == 0


def test_group_weights_bring_a_group_to_its_share():
    team = {f"m{i}": {"gender": "Man"} for i in range(15)}
    team |= {f"w{i}": {"gender": "Woman"} for i in range(5)}
    weights = group_weights(team, "gender", {"Man": 1, "Woman": 1})
    assert weights["w0"] * 5 == pytest.approx(weights["m0"] * 15)
    assert sum(weights.values()) == pytest.approx(20)


def test_weights_that_would_tell_are_refused():
    team = {f"m{i}": {"gender": "Man"} for i in range(15)} | {"w": {"gender": "Woman"}}
    with pytest.raises(ValueError, match="fewer than 5 labelers are 'Woman'"):
        group_weights(team, "gender", {"Man": 1, "Woman": 1})
    with pytest.raises(ValueError, match="no share for 'Woman'"):
        group_weights(team, "gender", {"Man": 1})


def test_questions_have_names_of_their_own():
    assert len({field.name for field in FIELDS}) == len(FIELDS)
