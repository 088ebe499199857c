"""The study of a group with other preferences: what does it gain, and everybody lose, if its
members count more on the prompts that concern them?

    understudy demo --study groups

Five of twenty labelers are of a group with the opposite taste in one respect, on a kind of prompt
that anybody may send (`world/groups.py`). Reward models on the same rankings:

equal    every ranking counts once
twice    on these prompts, members' rankings count twice; and so on
only     on these prompts, only members' rankings are used
told     every ranking counts once, but members' of these prompts follow a system turn that names
         the group; the model is asked with it for members, and without it for others

Every model starts from the same one. What choosing by its score is worth is measured by best-of-n
from SFT, by the group's judge and by everybody else's.
"""

from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_plan import add_reward
from understudy.loop.study_labelers import sampled

WEIGHTS = {"twice": 2, "four": 4, "sixteen": 16}
"""Weights of members' rankings, by arm."""
ARMS = {
    "equal": "Unweighted",
    **{arm: f"Members x{weight}" for arm, weight in WEIGHTS.items()},
    "only": "Members only",
    "told": "Told the group",
}


def add_groups_study(build: Build, stage: str) -> None:
    """A reward model per arm, and the report."""
    settings, shards = build.recipe.evaluate, range(build.recipe.evaluate.num_shards)
    build.add(
        "groups-prompts",
        "new prompts that concern the group",
        "studied_groups:prompts",
        ("prompts.jsonl",),
        {},
        number=settings.num_prompts // 2,
    )
    build.add(
        "groups-rankings",
        "twenty labelers rank, five of the group",
        "studied_groups:rank",
        (
            "labelers.jsonl",
            "share.json",
            *(f"{name}.jsonl" for name in ("equal", "only", "told", "valid", "valid-told")),
            *(f"{arm}.json" for arm in WEIGHTS),
        ),
        {
            "prompts": build["prompts/rank.jsonl"],
            "valid": build["prompts/rank_valid.jsonl"],
            "responses": sampled(build),
        },
        group="rankings",
        weights=WEIGHTS,
    )
    add_responses(
        build,
        "groups-answers",
        "responses to them, to choose the best of n",
        group="best_of_answers",
        model=build["sft/run/model"],
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
        {f"arm_{arm}": build[f"groups-{arm}-check/measured.json"] for arm in ARMS},
        arms=ARMS,
        best_of=settings.best_of,
    )


def add_arm(build: Build, arm: str, answers: tuple[Any, ...]) -> None:
    """A reward model and its measurements."""
    data = arm if arm in ("only", "told") else "equal"
    inputs: dict[str, Any] = {}
    if arm in WEIGHTS:
        inputs["group_weights"] = build[f"groups-rankings/{arm}.json"]
    add_reward(build, f"groups-{arm}", build[f"groups-rankings/{data}.jsonl"], inputs)
    valid = "valid-told" if arm == "told" else "valid"
    build.add(
        f"groups-{arm}-check",
        "its accuracy by group, and what the best of n by its score is worth to whom",
        "studied_groups:measure",
        ("measured.json",),
        {
            "reward_model": build[f"groups-{arm}/run/model"],
            "labelers": build["groups-rankings/labelers.jsonl"],
            "share": build["groups-rankings/share.json"],
            "valid": build[f"groups-rankings/{valid}.jsonl"],
            "own": build["groups-prompts/prompts.jsonl"],
            "own_answers": build["groups-answers/responses.jsonl"],
            "prompts": build["prompts/test.jsonl"],
            "answers": answers,
        },
        group="reward_check",
        told=arm == "told",
        best_of=build.recipe.evaluate.best_of,
    )
