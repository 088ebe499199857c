"""The study of a group with other preferences: what does the group gain, and what do others lose,
if members count more on the prompts that concern them?

    understudy demo --study groups

Five of twenty labelers belong to a group with the opposite taste in one respect, on a kind of
prompt that anybody may send (`world/groups.py`). Reward models are trained on the same rankings:

equal    every ranking counts once
twice    on these prompts, members' rankings count twice; and so on
only     on these prompts, only members' rankings are used
told     every ranking counts once, but in members' rankings of these prompts a system turn names
         the group; for members the model scores with that turn, for others without it

Two of them also have a run of two epochs: told, since one epoch does not always teach so small a
model to read the turn, and equal, which shows what a second epoch does by itself.

Every reward model starts from the same model. The worth of choosing by its score is measured by
best-of-n from SFT, with the group's judge and with everybody else's.
"""

from functools import partial
from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_plan import add_reward
from understudy.loop.study_labelers import sampled

WEIGHTS = {"twice": 2, "four": 4, "sixteen": 16}
"""Weights of members' rankings, by arm."""
SHARE = 0.5
"""Share of the demo's ranked prompts that the study uses."""
MORE = 0.5
"""Added prompts that concern the group, per ranked prompt of the demo: members rank too few of
users' own prompts for a model to learn from."""
ARMS = {
    "equal": "Unweighted",
    **{arm: f"Members x{weight}" for arm, weight in WEIGHTS.items()},
    "only": "Members only",
    "told": "Told the group",
    "told_twice": "Told the group, two epochs",
    "equal_twice": "Unweighted, two epochs",
}


def add_groups_study(build: Build, stage: str) -> None:
    """A reward model per arm, and the report."""
    settings, shards = build.recipe.evaluate, range(build.recipe.evaluate.num_shards)
    build.add(
        "groups-prompts",
        "prompts that concern the group: more to rank, and new ones",
        "studied_groups:prompts",
        ("rank.jsonl", "more.jsonl", "prompts.jsonl", "share.json"),
        {"rank": build["prompts/rank.jsonl"]},
        share=SHARE,
        more=MORE,
        number=settings.num_prompts // 2,
    )
    sample = build.recipe.sample
    respond = partial(add_responses, build, model=build["sft/run/model"])
    respond(
        "groups-sample",
        "responses to those to rank",
        group="sample",
        prompts=build["groups-prompts/more.jsonl"],
        name="sft",
        max_response_tokens=sample.max_response_tokens,
        min_answers=sample.min_answers,
        max_answers=sample.max_answers,
        temperature=sample.temperature,
    )
    build.add(
        "groups-rankings",
        "twenty labelers rank, five of the group",
        "studied_groups:rank",
        (
            "labelers.jsonl",
            *(f"{name}.jsonl" for name in ("equal", "only", "told", "valid", "valid-told")),
            *(f"{arm}.json" for arm in WEIGHTS),
        ),
        {
            "prompts": (build["groups-prompts/rank.jsonl"], build["groups-prompts/more.jsonl"]),
            "valid": build["prompts/rank_valid.jsonl"],
            "responses": (*sampled(build), build["groups-sample/responses.jsonl"]),
        },
        group="rankings",
        weights=WEIGHTS,
    )
    respond(
        "groups-answers",
        "responses to them, to choose the best of n",
        group="best_of_answers",
        prompts=build["groups-prompts/prompts.jsonl"],
        name="sft_samples",
        num_samples=settings.best_of + 1,
    )
    for arm in ARMS:
        add_arm(build, arm, tuple(build[f"best_of_answers-{i}/responses.jsonl"] for i in shards))
    build.add(
        stage,
        "the group's win rates beside everybody's, and a report of them",
        "studied_groups:report",
        ("results.json", "report.html"),
        {
            "labelers": build["groups-rankings/labelers.jsonl"],
            "valid": build["groups-rankings/valid.jsonl"],
            **{f"arm_{arm}": build[f"groups-{arm}-check/measured.json"] for arm in ARMS},
        },
        arms=ARMS,
        best_of=settings.best_of,
    )


def add_arm(build: Build, arm: str, answers: tuple[Any, ...]) -> None:
    """A reward model and its measurements."""
    data = {"only": "only", "told": "told", "told_twice": "told"}.get(arm, "equal")
    inputs: dict[str, Any] = {}
    if arm in WEIGHTS:
        inputs["group_weights"] = build[f"groups-rankings/{arm}.json"]
    twice = {"epochs": 2 * build.recipe.reward.get("epochs", 1)} if arm.endswith("_twice") else {}
    add_reward(build, f"groups-{arm}", build[f"groups-rankings/{data}.jsonl"], inputs, **twice)
    valid = "valid-told" if data == "told" else "valid"
    build.add(
        f"groups-{arm}-check",
        "its accuracy by group, and what the best of n by its score is worth to whom",
        "studied_groups:measure",
        ("measured.json",),
        {
            "reward_model": build[f"groups-{arm}/run/model"],
            "labelers": build["groups-rankings/labelers.jsonl"],
            "share": build["groups-prompts/share.json"],
            "valid": build[f"groups-rankings/{valid}.jsonl"],
            "own": build["groups-prompts/prompts.jsonl"],
            "own_answers": build["groups-answers/responses.jsonl"],
            "prompts": build["prompts/test.jsonl"],
            "answers": answers,
        },
        group="reward_check",
        told=data == "told",
        best_of=build.recipe.evaluate.best_of,
    )
