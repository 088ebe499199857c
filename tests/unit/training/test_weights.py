"""Weights of rankings by labeler and by the group that a prompt concerns."""

import json
from dataclasses import replace

import pytest

from understudy.records import Ranking
from understudy.training.weights import read_weights

TEAM = [f"l{number}" for number in range(6)]


def ranking(labeler, group=None):
    return Ranking(
        id=f"{labeler}/{group}",
        prompt_id=f"p-{group}",
        prompt="Name a ward.",
        responses=("a", "b"),
        tiers=((0,), (1,)),
        labeler_id=labeler,
        group=group,
    )


RANKINGS = [ranking(name, group) for name in TEAM for group in (None, "nurses", "parents")]


def files(tmp_path, **tables):
    """Written tables, in the order of `read_weights`."""
    for name, table in tables.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table))
    return [tmp_path / f"{n}.json" if n in tables else None for n in ("labelers", "groups")]


def test_weights_by_labeler_and_by_group_multiply(tmp_path):
    """By hand: 0.5 for l0 everywhere; 4 for the first five on the nurses' prompts."""
    groups = {"nurses": dict.fromkeys(TEAM[:5], 4)}
    paths = files(tmp_path, labelers={"l0": 0.5}, groups=groups)
    weight_of = read_weights(*paths, RANKINGS)
    found = {one.id: weight_of(one) for one in RANKINGS}
    assert found["l0/None"] == 0.5
    assert found["l0/nurses"] == 2.0
    assert found["l1/nurses"] == 4.0
    assert found["l5/nurses"] == 1.0
    assert found["l0/parents"] == 0.5
    assert found["l1/parents"] == 1.0
    alone = read_weights(None, paths[1], RANKINGS)
    assert alone(ranking("l0", "nurses")) == 4.0
    assert read_weights(None, None, [])(ranking("l0", "nurses")) == 1.0


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"doctors": dict.fromkeys(TEAM, 2)}, "concerns group 'doctors'.*name nurses, parents"),
        ({"nurses": dict.fromkeys(TEAM[:4], 2)}, "'nurses' names 4 labelers; name at least 5"),
        ({"nurses": dict.fromkeys(TEAM, 0)}, "weight of l0 is 0; it must be a number above 0"),
        ({"nurses": dict.fromkeys(TEAM, -1)}, "must be a number above 0"),
        ({"nurses": dict.fromkeys(TEAM, True)}, "must be a number above 0"),
        ({"nurses": dict.fromkeys(TEAM, float("nan"))}, "must be a number above 0"),
        ({"nurses": dict.fromkeys(TEAM, float("inf"))}, "must be a number above 0"),
        ({"nurses": dict.fromkeys([*TEAM, "Zoe"], 2)}, "no ranking is by labeler 'Zoe'"),
        ({"nurses": 4}, "group 'nurses' needs an object of weights by labeler"),
        ([4], "must be a JSON object such as"),
    ],
)
def test_group_weights_that_are_refused(tmp_path, groups, message):
    with pytest.raises(ValueError, match=message):
        read_weights(*files(tmp_path, groups=groups), RANKINGS)


def test_rankings_without_groups_say_how_to_name_them(tmp_path):
    paths = files(tmp_path, groups={"nurses": dict.fromkeys(TEAM, 2)})
    bare = [replace(one, group=None) for one in RANKINGS]
    with pytest.raises(ValueError, match="no group at all"):
        read_weights(*paths, bare)
