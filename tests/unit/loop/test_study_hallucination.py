"""The study of made-up answers: each remedy changes one thing, and does what it says."""

import importlib
import json
from dataclasses import replace

import pytest

from understudy.evaluation.study_sections import study_section
from understudy.labeling.collect import collect_demonstrations
from understudy.loop.plan import Artifact
from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.studied_hallucination import (
    abstaining_first,
    abstains,
    by_flag,
    complement,
    demonstrate,
    false_premises,
    flag_applies,
    questions,
    share,
    truth_first,
)
from understudy.loop.study import study_plan
from understudy.records import Demonstration, Prompt, Ranking, Response, read_records, write_records
from understudy.world.judge import MAXIMUM
from understudy.world.labelers import make_labelers
from understudy.world.reserved import reserved_for
from understudy.world.tasks import NOT_SAID, parse
from understudy.world.world import World

WORLD = World(0)
QUESTION = "read this: anna bought jam. ben is in the barn. where is {p}?"


@pytest.fixture
def plan(tmp_path):
    """The study's plan, with a folder as the base model of every size."""
    (tmp_path / "config.json").write_text("{}")
    recipe, base = load_recipe("demo"), str(tmp_path)
    world = replace(recipe.world, policy_size=base, reward_size=base)
    return study_plan(replace(recipe, world=world), 0, "hallucination")


def ranking_of(prompt, texts, *tiers):
    return Ranking(
        id="k", prompt_id="p", prompt=prompt, responses=texts, tiers=tiers, labeler_id="l"
    )


def test_each_remedy_changes_one_thing(plan):
    demo = plan["ppo_ptx"]

    def changed(name):
        other = plan[f"{name}-ppo_ptx"]
        inputs = {
            k for k in {*other.inputs, *demo.inputs} if other.inputs.get(k) != demo.inputs.get(k)
        }
        return inputs | {k for k in demo.config if demo.config[k] != other.config[k]}

    assert changed("abstain") == changed("taught") == {"model"}
    lists = [
        plan[f"{name}-demonstrations"].input_lists()["demonstrations"]
        for name in ("abstain", "taught")
    ]
    assert lists[1] == (*lists[0], Artifact(stage="taught-questions", output="prompts.jsonl"))
    assert changed("truthful") == changed("rewarded") == {"reward_model"}
    assert changed("flag") == {"ensemble", "beta"}
    assert plan["flag-ppo_ptx"].config["beta"] == demo.config["beta"] / 2
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_false_premises_are_about_somebody_whom_the_text_does_not_mention(tmp_path):
    config = {"seed": 0, "number": 20}
    false_premises(StageCall(name="x", inputs={}, config=config, out=tmp_path, root=tmp_path))
    for prompt in read_records(tmp_path / "prompts.jsonl", Prompt):
        task = parse(prompt.prompt)
        assert task.slots["p"] not in task.slots["text"].split()
        assert WORLD.judge.check(prompt.prompt, NOT_SAID).done == 1.0
        assert WORLD.judge.check(prompt.prompt, f"{task.slots['p']} is in the hall.").truthful == 0


def test_further_questions_are_for_training_and_two_thirds_have_answers(tmp_path):
    config = {"seed": 0, "number": 300}
    questions(StageCall(name="x", inputs={}, config=config, out=tmp_path, root=tmp_path))
    prompts = read_records(tmp_path / "prompts.jsonl", Prompt)
    tasks = [parse(prompt.prompt) for prompt in prompts]
    assert all(reserved_for(task.request) is None for task in tasks)
    assert {prompt.split for prompt in prompts} == {"train"}
    assert 0.55 < sum(task.truth(WORLD.facts) is not None for task in tasks) / 300 < 0.75


def test_abstaining_demonstrations_differ_in_guesses_only(tmp_path):
    prompts = [replace(p, split="train") for p in WORLD.closed_domain_prompts(80)]
    team = WORLD.labelers("training")
    accepted = {"accepted": [labeler.info.id for labeler in team]}
    (tmp_path / "labelers.json").write_text(json.dumps(accepted))
    write_records(tmp_path / "prompts.jsonl", prompts)
    inputs = dict.fromkeys(("demonstrations", "valid"), (tmp_path / "prompts.jsonl",))
    inputs["labelers"] = (tmp_path / "labelers.json",)
    demonstrate(StageCall(name="x", inputs=inputs, config={"seed": 0}, out=tmp_path, root=tmp_path))
    rows = read_records(tmp_path / "demonstrations.jsonl", Demonstration)
    answerable = {p.id: p.tags["answerable"] for p in prompts}
    for old, new in zip(collect_demonstrations(team, prompts, 0), rows, strict=True):
        if answerable[old.prompt_id]:
            assert new.response == old.response
        else:
            assert new.response.startswith("the ")  # "the text does not say.", maybe broken off
    assert not all(answerable.values())


def test_a_right_abstention_is_ranked_first_and_a_wrong_one_stays(tmp_path):
    texts = ("ben is in the hall.", NOT_SAID, "anna is in the barn.")
    unknown = ranking_of(QUESTION.format(p="anna"), texts, (0, 1), (2,))
    assert abstaining_first(unknown, WORLD).tiers == ((1,), (0,), (2,))
    known = ranking_of(QUESTION.format(p="ben"), texts, (0, 1), (2,))
    assert abstaining_first(known, WORLD) == known
    none = ranking_of(QUESTION.format(p="anna"), (texts[0], texts[2]), (0,), (1,))
    assert abstaining_first(none, WORLD).tiers == none.tiers


def test_a_flag_makes_two_tiers_and_is_asked_where_it_applies():
    labeler = make_labelers(WORLD.judge, "training", 1, 0)[0]
    prompts = [p for p in WORLD.closed_domain_prompts(60) if not p.tags["answerable"]]
    assert all(map(flag_applies, prompts))
    assert not flag_applies(replace(prompts[0], use_case="chat", tags={"closed_domain": False}))
    agreed = 0
    for prompt in prompts:
        texts = (NOT_SAID, f"{parse(prompt.prompt).slots['p']} has a red cat.")
        responses = {
            (prompt.id, text): Response(
                id=f"{prompt.id}/{i}", prompt_id=prompt.id, prompt=prompt.prompt, response=text,
                model="m",
            )
            for i, text in enumerate(texts)
        }  # fmt: skip
        ranking = replace(ranking_of(prompt.prompt, texts, (0, 1)), prompt_id=prompt.id)
        agreed += by_flag(ranking, labeler, prompt, responses).tiers == ((0,), (1,))
    assert agreed > 0.8 * len(prompts)


def test_truth_first_moves_weight_to_truth():
    for labeler in make_labelers(WORLD.judge, "training", 3, 0):
        weights = truth_first(labeler).weights
        assert sum(weights.values()) == pytest.approx(MAXIMUM)
        ratio = weights["truthful"] / weights["done"]
        assert ratio == pytest.approx(1.75 * labeler.weights["truthful"] / labeler.weights["done"])


def test_shares_count_the_given_prompts_only():
    prompts = WORLD.closed_domain_prompts(3)
    texts = (NOT_SAID, "i do not know. i like jam.", "paul is in the hall.")
    rows = [
        Response(id=p.id, prompt_id=p.id, prompt=p.prompt, response=text, model="m")
        for p, text in zip(prompts, texts, strict=True)
    ]
    found = share(rows, prompts[1:], WORLD, lambda _, text: abstains(text))
    assert (found["rate"], found["n"]) == (0.5, 2)


def test_the_report_shows_what_is_spared_and_what_it_costs():
    made_up = {"rate": 0.2, "low": 0.1, "high": 0.4, "n": 9}
    spared = complement(made_up)
    assert [spared[key] for key in ("rate", "low", "high")] == pytest.approx([0.8, 0.6, 0.9])
    point = {"x": spared, "y": made_up}
    frontier = {"x": "Spared", "y": "Right", "shares": True, "points": {"SFT": point}, "path": []}
    html = study_section({"study": {"panels": {"Made up": {"SFT": made_up}}, "frontier": frontier}})
    assert "Spared: further right is better; right: further up." in html
    assert "Win rates" not in html
    assert "Spared; Right: SFT 80% (60 to 90), n = 9; 20% (10 to 40), n = 9" in html
