import pytest

from understudy.labeling.overlap import pair_agreement, wants_more
from understudy.store.labels.submissions import Opinion


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [
        ({"a": 0, "b": 1}, {"a": 0, "b": 2}, 1.0),
        ({"a": 0, "b": 1}, {"a": 1, "b": 0}, 0.0),
        ({"a": 0, "b": 1}, {"a": 0, "b": 0}, 0.5),
        ({"a": 0, "b": 0}, {"a": 0, "b": 0}, 1.0),
        ({"a": 0, "b": 1, "c": 2}, {"c": 0, "b": 1, "a": 2}, 0.0),
        ({"a": 0, "b": 1, "c": 2}, {"a": 0, "c": 1, "b": 2}, 2 / 3),
        ({"a": 0}, {"a": 0}, None),
        ({"a": 0, "b": 1}, {}, None),
    ],
)
def test_agreement_of_two_rankings(one: dict, other: dict, agreement: float | None) -> None:
    assert pair_agreement(one, other) == agreement
    assert pair_agreement(other, one) == agreement


def test_one_more_is_asked_where_labelers_disagree_or_cannot_say() -> None:
    up, down = Opinion("ranked", {"a": 0, "b": 1}), Opinion("ranked", {"a": 1, "b": 0})
    unsure = Opinion("unsure", {})
    assert not wants_more([up])
    assert not wants_more([up, up])
    assert wants_more([up, down])
    assert wants_more([up, up, down])  # one pair of labelers in three agrees
    assert not wants_more([up] * 6 + [down])  # 15 of 21
    assert wants_more([unsure])
