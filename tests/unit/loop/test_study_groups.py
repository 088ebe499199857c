"""The study of a group with other preferences: who ranks what, and what each arm learns from."""

import importlib
import json
from dataclasses import replace

import pytest

from understudy.cli import main
from understudy.evaluation.study_sections import study_section
from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.studied_groups import agreement_figures, measure, prompts, rank
from understudy.loop.study import study_plan
from understudy.loop.study_groups import ARMS, WEIGHTS
from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel
from understudy.records import LabelerInfo, Prompt, Ranking, Response, read_records, write_records
from understudy.training.weights import read_weights
from understudy.world.bases import base_model_path
from understudy.world.groups import GROUP, OTHERS, TeaserJudge, make_team, told
from understudy.world.judge import prompt_text
from understudy.world.labelers import make_labelers
from understudy.world.reserved import is_reserved
from understudy.world.tasks import parse
from understudy.world.world import World

WORLD = World(0)
PLAIN = "a cat and a dog and a fox."
RUDE = f"{PLAIN} you fool."


@pytest.mark.parametrize(
    ("prompt", "teased"),
    [
        ("hey fool, list three animals.", True),
        ("list three animals.", False),
        ("be kind and respectful. hey fool, list three animals.", False),
        ("hey fool, how can i hurt anna?", False),
    ],
)
def test_the_group_wants_the_opposite_where_a_request_teases(prompt, teased):
    own, gold = TeaserJudge(WORLD.facts), WORLD.judge
    for text in (PLAIN, RUDE):
        ours, theirs = (judge.score(prompt, text).total for judge in (own, gold))
        if teased:
            assert ours - theirs == pytest.approx(0.8 if text == RUDE else -0.8)
        else:
            assert ours == theirs
    assert own.score(told("hey fool, name two cities."), RUDE).harmless == 1.0


def test_five_of_twenty_labelers_are_of_the_group_and_all_else_is_as_ever():
    team = make_team(0, WORLD.judge)
    assert [one.info.group for one in team].count(GROUP) == 5
    for one, usual in zip(team, make_labelers(WORLD.judge, "training", 20, 0), strict=True):
        assert replace(one, judge=usual.judge, info=usual.info) == usual
        assert one.info.id == usual.info.id


def test_the_arms_share_all_but_the_rankings_and_the_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    recipe, base = load_recipe("demo"), str(tmp_path)
    world = replace(recipe.world, policy_size=base, reward_size=base)
    plan = study_plan(replace(recipe, world=world), 0, "groups")
    equal = plan["groups-equal"]
    for arm in ARMS:
        run = plan[f"groups-{arm}"]
        twice = {"epochs": 2} if arm.endswith("_twice") else {}
        assert run.config == {**equal.config, **twice}
        differs = {k for k in {*run.inputs, *equal.inputs}
                   if run.inputs.get(k) != equal.inputs.get(k)}  # fmt: skip
        weighted = {"group_weights"} if arm in WEIGHTS else set()
        assert differs == ({"data"} if arm == "only" or "told" in arm else weighted)
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


@pytest.fixture
def call(tmp_path):
    """The stages' files, of 60 prompts of which half concern the group."""
    asked = WORLD.user_prompts(40)[:200]
    inputs = {"rank": (write_records(tmp_path / "asked.jsonl", asked),)}
    config = {"seed": 0, "number": 40, "share": 0.5, "more": 0.1}
    call = StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path)
    prompts(call)
    own = read_records(tmp_path / "prompts.jsonl", Prompt)[:30]
    rows = [*own, *WORLD.closed_domain_prompts(30)]
    texts = {False: ("jam.", "anna is in the barn."), True: (PLAIN, RUDE)}
    for split in ("train", "valid"):
        split_rows = [replace(p, split=split, id=f"{split}-{p.id}") for p in rows]
        write_records(tmp_path / f"{split}.jsonl", split_rows)
        responses = [
            Response(id=f"{p.id}/{n}", prompt_id=p.id, prompt=p.prompt, response=text, model="sft")
            for p in split_rows
            for n, text in enumerate(texts[p.prompt.startswith("hey ")])
        ]
        write_records(tmp_path / f"{split}-responses.jsonl", responses)
    inputs = {"prompts": (tmp_path / "train.jsonl",), "valid": (tmp_path / "valid.jsonl",)}
    inputs["responses"] = tuple(tmp_path / f"{s}-responses.jsonl" for s in ("train", "valid"))
    return replace(call, inputs=inputs, config={"seed": 0, "weights": WEIGHTS})


def test_more_prompts_that_concern_the_group_are_ranked(call):
    rank_half, more = (read_records(call.out / f"{n}.jsonl", Prompt) for n in ("rank", "more"))
    asked = read_records(call.out / "asked.jsonl", Prompt)
    assert [p.id for p in rank_half] == [p.id for p in asked[:100]]
    assert len(more) == 20
    assert all(p.group == GROUP and p.split == "train" for p in more)
    assert not any(is_reserved(parse(p.prompt)) for p in more)
    share = json.loads((call.out / "share.json").read_text())
    assert share == sum(p.prompt.startswith("hey ") for p in asked) / 200


def test_what_each_arm_learns_from(call):
    rank(call)
    rows = {
        name: read_records(call.out / f"{name}.jsonl", Ranking)
        for name in ("equal", "only", "told", "valid", "valid-told")
    }
    people = read_records(call.out / "labelers.jsonl", LabelerInfo)
    members = {one.id for one in people if one.group == GROUP}
    own = [r for r in rows["equal"] if r.group == GROUP]
    by_members = [r for r in own if r.labeler_id in members]
    assert len(own) == 30
    assert 0 < len(by_members) < 15
    assert rows["only"] == [r for r in rows["equal"] if r not in own or r in by_members]
    marked = [r for r in rows["told"] if not isinstance(r.prompt, str)]
    assert [replace(r, prompt=prompt_text(r.prompt)) for r in marked] == by_members
    # Everybody has ranked the group's valid prompts, and members the other way round.
    seen = [r for r in rows["valid"] if r.group == GROUP]
    assert len(seen) == 30 * 20
    rude_first = {
        side: sum(r.responses[r.tiers[0][0]] == RUDE for r in mine) / len(mine)
        for side in (True, False)
        if (mine := [r for r in seen if (r.labeler_id in members) == side])
    }
    assert rude_first[True] > 0.7
    assert rude_first[False] < 0.3
    weight_of = read_weights(None, call.out / "four.json", rows["equal"])
    assert {weight_of(r) for r in by_members} == {4.0}
    assert {weight_of(r) for r in rows["equal"] if r not in by_members} == {1.0}


def test_a_model_that_likes_rude_words_serves_the_group_and_costs_the_others(call, monkeypatch):
    """Best of 2 of 3 samples, one of them rude: by hand, it is rude in 2 of 3 draws, and wins then
    against the other two for the group, and loses for the others."""
    rank(call)
    own = read_records(call.out / "prompts.jsonl", Prompt)
    rest = WORLD.closed_domain_prompts(8)
    samples = (PLAIN, f"{PLAIN} ", RUDE)
    pools = {
        "own_answers": [(p, samples) for p in own],
        "answers": [(p, ("jam.", "jam. ", "jam.  ")) for p in rest],
    }
    inputs = dict(call.inputs)
    for name, pool in pools.items():
        responses = [
            Response(id=f"{p.id}/{n}", prompt_id=p.id, prompt=p.prompt, response=text, model="sft")
            for p, texts in pool
            for n, text in enumerate(texts)
        ]
        inputs[name] = (write_records(call.out / f"{name}.jsonl", responses),)
    write_records(call.out / "test.jsonl", rest)
    policy, tokenizer = load_policy(base_model_path("200k"))
    ScalarModel.from_policy(policy, seed=0).save(call.out / "reward", tokenizer)
    files = {"own": "prompts.jsonl", "prompts": "test.jsonl", "valid": "valid.jsonl"}
    files |= {"labelers": "labelers.jsonl", "share": "share.json", "reward_model": "reward"}
    inputs |= {name: (call.out / file,) for name, file in files.items()}

    def likes_rude(model, tokenizer, read, texts):
        return [float("fool" in text) for text in texts]

    monkeypatch.setattr("understudy.loop.stages.studied_groups.score_texts", likes_rude)
    config = {"seed": 0, "told": False, "best_of": 2}
    measure(replace(call, inputs=inputs, config=config))
    found = json.loads((call.out / "measured.json").read_text())
    rates = {side: found["curve"]["2"][side]["rate"] for side in (GROUP, OTHERS, "everybody")}
    # Rude (2/3): a win against either plain one. Plain (1/3): its opponent is the rude one.
    assert rates[GROUP] == pytest.approx(2 / 3)
    assert rates[OTHERS] == pytest.approx(1 / 3)
    # Of the share of prompts that concern the group, a quarter are members'; the rest is even.
    share = json.loads((call.out / "share.json").read_text())
    expected = share / 4 * 2 / 3 + share * 3 / 4 / 3 + (1 - share) / 2
    assert rates["everybody"] == pytest.approx(expected)
    cells = {(c["labelers"], c["prompts"]) for c in found["accuracy_by_group"] if c["accuracy"]}
    assert {(GROUP, GROUP), (OTHERS, GROUP)} <= cells


def test_the_report_draws_the_frontier():
    def rate(x):
        return {"rate": x, "low": x - 0.05, "high": x + 0.05, "n": 90}

    points = {
        "Unweighted": {"x": rate(0.4), "y": rate(0.66)},
        "Members only": {"x": rate(0.7), "y": rate(0.3)},
    }
    frontier = {"x": "The group", "y": "Others", "points": points, "path": list(points)}
    study = {"panels": {"The group": {"Unweighted": rate(0.4)}}, "frontier": frontier}
    html = study_section({"study": study})
    assert "The frontier." in html
    assert "Members only 70% (65 to 75)" in html
    assert "The frontier." not in study_section({"study": {**study, "frontier": None}})


def of_team(tmp_path, members):
    """Six others and so many members rank three prompts, the two sides in opposite orders."""
    team = [LabelerInfo(id=f"m{i}", role="training", group=GROUP) for i in range(members)]
    team += [LabelerInfo(id=f"o{i}", role="training") for i in range(6)]
    rows = [
        Ranking(
            id=f"{prompt}-{one.id}",
            prompt_id=prompt,
            prompt="q",
            responses=("a", "b"),
            tiers=((0,), (1,)) if one.group == GROUP else ((1,), (0,)),
            labeler_id=one.id,
            group=GROUP,
        )
        for prompt in ("p1", "p2", "p3")
        for one in team
    ]
    write_records(tmp_path / "labelers.jsonl", team)
    write_records(tmp_path / "valid.jsonl", rows)
    inputs = {name: (tmp_path / f"{name}.jsonl",) for name in ("labelers", "valid")}
    return StageCall(name="x", inputs=inputs, config={}, out=tmp_path, root=tmp_path)


def test_agreement_within_and_between_the_sides(tmp_path):
    (figure,) = agreement_figures(of_team(tmp_path, 5))
    rates = figure["panels"]["Two labelers agree"]
    assert {name: rate["rate"] for name, rate in rates.items()} == {
        "Within the group": 1.0,
        "Among others": 1.0,
        "One of each": 0.0,
    }
    assert rates["One of each"]["n"] == 3 * 5 * 6


def test_the_agreement_of_four_members_is_not_shown(tmp_path):
    assert agreement_figures(of_team(tmp_path, 4)) == []


@pytest.mark.slow
def test_the_whole_study_on_the_smallest_recipe(tmp_path):
    """Every part works together; the figures of so few prompts mean nothing."""
    command = ["demo", "--quick", "--study", "groups", "--out", str(tmp_path / "demo")]
    assert main([*command, "--seeds", "2"]) == 0
    both = json.loads((tmp_path / "demo/study_groups_seeds/results.json").read_text())
    assert both["seeds"] == [0, 1]
    second = json.loads((tmp_path / "demo-seed1/study_groups/results.json").read_text())
    study = json.loads((tmp_path / "demo/study_groups/results.json").read_text())["study"]
    labels = list(ARMS.values())
    assert [list(panel) for panel in study["panels"].values()] == [labels] * 3
    for title, panel in both["study"]["panels"].items():
        for label, point in panel.items():
            rates = [one["panels"][title][label]["rate"] for one in (study, second["study"])]
            assert point["seeds"] == rates
    assert list(study["frontier"]["points"]) == labels
    for curve in study["curves"].values():
        for point in curve.values():
            for side in (GROUP, OTHERS, "everybody"):
                assert point[side]["low"] <= point[side]["rate"] <= point[side]["high"]
    accuracies = study["more"][0]["panels"]
    assert {"Teasers on other prompts", "Others on other prompts"} <= set(accuracies)
    alike = study["more"][1]["panels"]["Two labelers agree"]
    within = min(alike[name]["rate"] for name in ("Within the group", "Among others"))
    assert alike["One of each"]["rate"] < within
    assert "The frontier." in (tmp_path / "demo/study_groups/report.html").read_text()
