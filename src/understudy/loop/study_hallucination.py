"""The study of made-up answers: what makes them rarer, and at what price?

    understudy demo --study hallucination

abstain    demonstrations abstain where the text does not answer, instead of guessing
taught     the same, with demonstrations of many more such questions
truthful   labelers put truth first when they rank
flag       a second reward model learns labelers' flag "hallucination"; PPO-ptx adds the two scores
rewarded   labelers rank a response that rightly abstains above all others

To abstain is to say that the text does not give the answer. Each remedy changes one thing in the
demo. Made-up answers are counted separately on questions that the text answers, on questions that
it does not answer, and on questions with a false premise, about somebody whom the text does not
mention; no training prompt is of this last kind. The price is abstaining where the text answers
(over-hedging) and a change in the win rate on users' requests.
"""

from collections.abc import Mapping
from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_evaluation import model_of
from understudy.loop.demo_plan import add_reward, add_rl, add_rl_init, sft_inputs
from understudy.loop.plan import Artifact

MODELS = {
    "sft": "SFT",
    "abstain-sft": "SFT, demos abstain",
    "ppo_ptx": "PPO-ptx",
    "abstain-ppo_ptx": "PPO-ptx, demos abstain",
    "taught-sft": "SFT, many more demos",
    "taught-ppo_ptx": "PPO-ptx, many more demos",
    "truthful-ppo_ptx": "truth ranked first",
    "flag-ppo_ptx": "flag's own score",
    "rewarded-ppo_ptx": "abstaining ranked first",
}
"""Models by stage, with display names."""
REWARDS = {
    "reward": "The demo's",
    "truthful-reward": "Truth first",
    "flag-reward": "Flag only",
    "rewarded-reward": "Abstaining first",
}
"""Reward models by stage, with display names."""
NUM_QUESTIONS = 1000
"""Further questions on a text that are demonstrated; the demo has about a tenth of that number."""
FLAG_EPOCHS = 4
"""Passes over the flags, of which there are few: only about one prompt in eight has both a response
with the flag and one without."""


def add_hallucination_study(build: Build, stage: str) -> None:
    """Every remedy's training, and the report."""
    add_abstaining(build, "abstain")
    build.add(
        "taught-questions",
        "many more questions on a text",
        "studied_hallucination:questions",
        ("prompts.jsonl",),
        {},
        number=min(NUM_QUESTIONS, build.recipe.labels.num_demonstrations),
    )
    add_abstaining(build, "taught", build["taught-questions/prompts.jsonl"])
    for how in ("truthful", "flag", "rewarded"):
        add_ranked(build, how)
    build.add(
        "premise-prompts",
        "questions about somebody whom the text does not mention",
        "studied_hallucination:false_premises",
        ("prompts.jsonl",),
        {},
        number=build.recipe.evaluate.num_closed_prompts // 2,
    )
    for name in MODELS:
        add_responses(
            build,
            f"made_up-answers-{name}",
            "responses to questions on a text, and to users' requests",
            group="sampled_answers",
            model=model_of(build, name),
            prompts=(
                build["prompts/closed.jsonl"],
                build["premise-prompts/prompts.jsonl"],
                build["prompts/test.jsonl"],
            ),
            name=name,
        )
    build.add(
        stage,
        "made-up answers and their price, and a report of them",
        "studied_hallucination:report",
        ("results.json", "report.html"),
        {
            "answers": tuple(build[f"made_up-answers-{name}/responses.jsonl"] for name in MODELS),
            "labelers": build["screening/labelers.json"],
            "closed": build["prompts/closed.jsonl"],
            "premise": build["premise-prompts/prompts.jsonl"],
            "test": build["prompts/test.jsonl"],
            **{name: build[f"{name}/run/model"] for name in REWARDS},
        },
        models=MODELS,
        rewards=REWARDS,
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def add_abstaining(build: Build, name: str, *more: Artifact) -> None:
    """SFT and PPO-ptx from demonstrations without guesses, of the demo's prompts and of more; the
    demo's reward model."""
    build.add(
        f"{name}-demonstrations",
        "labelers say so where the text does not answer",
        "studied_hallucination:demonstrate",
        ("demonstrations.jsonl", "valid.jsonl"),
        {
            "labelers": build["screening/labelers.json"],
            "demonstrations": (build["prompts/demonstrate.jsonl"], *more),
            "valid": build["prompts/demonstrate_valid.jsonl"],
        },
        group="demonstrations",
    )
    data = {
        "data": build[f"{name}-demonstrations/demonstrations.jsonl"],
        "valid_data": build[f"{name}-demonstrations/valid.jsonl"],
    }
    build.add(
        f"{name}-sft",
        "SFT on them",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        {**sft_inputs(build), **data},
        group="sft",
        **build.recipe.sft,
    )
    add_rl_init(build, f"{name}-rl_init", {}, data)
    add_rl(build, f"{name}-ppo_ptx", "ppo_ptx", f"{name}-rl_init")


def add_ranked(build: Build, how: str) -> None:
    """Other labels on the demo's responses, a reward model, and PPO-ptx from the demo's RL init."""
    shards = range(build.recipe.sample.num_shards)
    build.add(
        f"{how}-rankings",
        "labelers rank the demo's responses by other instructions",
        "studied_hallucination:rank",
        ("rankings.jsonl",),
        {
            "labelers": build["screening/labelers.json"],
            "prompts": build["prompts/rank.jsonl"],
            "responses": tuple(build[f"sample-{i}/responses.jsonl"] for i in shards),
        },
        group="rankings",
        how=how,
        overlap=build.recipe.labels.overlap,
    )
    epochs: dict[str, Any] = {"epochs": FLAG_EPOCHS} if how == "flag" else {}
    add_reward(build, f"{how}-reward", build[f"{how}-rankings/rankings.jsonl"], **epochs)
    own = build[f"{how}-reward/run/model"]
    inputs: Mapping[str, Any] = {"reward_model": own}
    changes: Mapping[str, Any] = {}
    if how == "flag":
        # Maximising the mean of two scores with half of beta maximises their sum with all of it.
        inputs, changes = {"ensemble": (own,)}, {"beta": build.recipe.ppo["beta"] / 2}
    add_rl(build, f"{how}-ppo_ptx", "ppo_ptx", changes=changes, inputs=inputs)
