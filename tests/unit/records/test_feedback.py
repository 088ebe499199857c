"""Feedback from rankings and ratings; reading it from files is in test_shapes.py."""

import pytest

from understudy.records import Feedback, Ranking, Rating, Response
from understudy.records.feedback import of_ranking, of_rating


def ranking(*tiers):
    responses = [text for tier in tiers for text in tier]
    places = [[responses.index(text) for text in tier] for tier in tiers]
    return Ranking.from_json({"prompt": "x", "responses": responses, "tiers": places})


@pytest.mark.parametrize(
    ("tiers", "desirable", "undesirable"),
    [
        (("a", "b"), ["a"], ["b"]),
        (("ab", "c"), ["a", "b"], ["c"]),
        (("a", "bc", "d", "ef"), ["a"], ["e", "f"]),
        (("abc",), [], []),
    ],
)
def test_the_best_tier_is_desirable_and_the_worst_is_not(tiers, desirable, undesirable):
    found = of_ranking(ranking(*tiers))
    assert [one.response for one in found if one.desirable] == desirable
    assert [one.response for one in found if not one.desirable] == undesirable


@pytest.mark.parametrize(
    ("likert", "least", "expected"), [(5, 5, True), (4, 5, False), (4, 4, True)]
)
def test_a_rating_is_desirable_from_a_threshold_on(likert, least, expected):
    response = Response.from_json({"id": "r", "prompt": "x", "response": "a", "model": "m"})
    row = {"id": "i", "prompt_id": "p", "response_id": "r", "likert": likert, "labeler_id": "l"}
    found = of_rating(Rating.from_json(row), response, least)
    assert found.desirable is expected
    assert Feedback.from_json(found.to_json()) == found
