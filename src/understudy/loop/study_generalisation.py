"""The study of generalisation: does training help with requests that nobody demonstrated or ranked
and that RL never sampled, and for people who took no part?

    understudy demo --study generalisation

A language (zog) and a task (picking words out of a text) are left out of demonstrations, rankings
and RL prompts; the base model has read both. SFT and PPO-ptx trained that way are compared with the
demo's, on the two kinds and on everything else. The demo's PPO-ptx is also judged on prompts that
it was trained on and on others, by labelers whose rankings trained it and by others (s4.1), and
reward models are trained without a fifth of the labelers in turn.
"""

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_evaluation import model_of
from understudy.loop.demo_plan import add_reward, add_rl, add_rl_init, sft_inputs

HELD_OUT = {"zog": "Zog", "extract": "Picking words"}
"""Kinds of request that are left out, with their display names."""
KEPT = ("demonstrations", "valid", "rank", "ppo")
"""Files from which these kinds are removed."""
MODELS = {
    "prompted": "Prompted base",
    "sft": "SFT",
    "unseen-sft": "SFT without",
    "ppo_ptx": "PPO-ptx",
    "unseen-ppo_ptx": "PPO-ptx without",
}
"""Models by stage, with display names; "without" means without the two kinds."""
NUM_PROMPTS = 240
"""Most prompts of each kind that is left out."""
FOLDS = 5
FOLD_RANKINGS = 5000
"""Most rankings in all folds; each trains on those by four fifths of the labelers of four fifths of
the prompts."""


def add_generalisation_study(build: Build, stage: str) -> None:
    """Training without the two kinds, the folds, and the report."""
    few = min(NUM_PROMPTS, build.recipe.evaluate.num_prompts)
    build.add(
        "unseen-data",
        "two kinds of request are left out of everything that trains",
        "studied_generalisation:leave_out",
        tuple(f"{name}.jsonl" for name in (*KEPT, "trained", *HELD_OUT)),
        {
            "demonstrations": build["demonstrations/demonstrations.jsonl"],
            "valid": build["demonstrations/valid.jsonl"],
            "rank": build["prompts/rank.jsonl"],
            "ppo": build["prompts/ppo.jsonl"],
        },
        kinds=list(HELD_OUT),
        number=few,
        num_trained=build.recipe.evaluate.num_prompts,
    )
    add_training(build)
    for name in MODELS:
        add_answers(build, name)
    add_folds(build)
    rewards = {"reward": "reward", "unseen-reward": "unseen-reward"}
    build.add(
        stage,
        "there and elsewhere, and a report of it",
        "studied_generalisation:report",
        ("results.json", "report.html"),
        {
            "answers": tuple(build[f"unseen-answers-{name}/responses.jsonl"] for name in MODELS),
            "labelers": build["screening/labelers.json"],
            "folds": build["unseen-folds-check/folds.json"],
            "test": build["prompts/test.jsonl"],
            "seen": build["prompts/seen.jsonl"],
            **{name: build[f"unseen-data/{name}.jsonl"] for name in ("trained", *HELD_OUT)},
            **{name: build[f"{one}/run/model"] for name, one in rewards.items()},
        },
        kinds=HELD_OUT,
        models=MODELS,
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def add_training(build: Build) -> None:
    """Steps 1 to 3 without the two kinds."""
    recipe = build.recipe
    data = {
        "data": build["unseen-data/demonstrations.jsonl"],
        "valid_data": build["unseen-data/valid.jsonl"],
    }
    build.add(
        "unseen-sft",
        "SFT without the two kinds",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        {**sft_inputs(build), **data},
        group="sft",
        **recipe.sft,
    )
    add_rl_init(build, "unseen-rl_init", {}, data)
    for shard in range(recipe.sample.num_shards):
        add_responses(
            build,
            f"unseen-sample-{shard}",
            "its responses, to rank",
            group="sample",
            model=build["unseen-sft/run/model"],
            prompts=build["unseen-data/rank.jsonl"],
            name="unseen-sft",
            min_answers=recipe.sample.min_answers,
            max_answers=recipe.sample.max_answers,
            temperature=recipe.sample.temperature,
            shard=[shard, recipe.sample.num_shards],
        )
    shards = range(recipe.sample.num_shards)
    build.add(
        "unseen-rankings",
        "labelers rank them",
        "studied:rank",
        ("rankings.jsonl", "weights.json"),
        {
            "labelers": build["screening/labelers.json"],
            "prompts": build["unseen-data/rank.jsonl"],
            "responses": tuple(build[f"unseen-sample-{i}/responses.jsonl"] for i in shards),
        },
        group="rankings",
        design="once",
        labels=1,
    )
    same = recipe.world.reward_size == recipe.world.policy_size
    start = build["unseen-sft/run/model"] if same else build.base(recipe.world.reward_size)
    seen = {"model": start, "demonstrations": data["data"]}
    add_reward(build, "unseen-reward", build["unseen-rankings/rankings.jsonl"], seen)
    add_rl(
        build,
        "unseen-ppo_ptx",
        "ppo_ptx",
        "unseen-rl_init",
        inputs={
            "reward_model": build["unseen-reward/run/model"],
            "prompts": build["unseen-data/ppo.jsonl"],
        },
    )


def add_answers(build: Build, name: str) -> None:
    """A model's responses to the two kinds and to the test prompts; the demo's models also respond
    to prompts that they were trained on."""
    files = [build[f"unseen-data/{kind}.jsonl"] for kind in HELD_OUT]
    files += [build["prompts/test.jsonl"]]
    if name in ("sft", "ppo_ptx"):
        files += [build["prompts/seen.jsonl"], build["unseen-data/trained.jsonl"]]
    add_responses(
        build,
        f"unseen-answers-{name}",
        "responses to what was left out, and to the rest",
        group="sampled_answers",
        model=model_of(build, name),
        prompts=tuple(files),
        prefix=build["text/prefix.txt"] if name == "prompted" else None,
        name=name,
    )


def add_folds(build: Build) -> None:
    """Reward models, each trained without a fifth of the labelers (s4.1)."""
    build.add(
        "unseen-folds",
        "a fifth of the labelers is left out in turn",
        "studied_generalisation:folds",
        tuple(f"fold-{i}/{name}.jsonl" for i in range(FOLDS) for name in ("train", "valid")),
        {"rankings": build["rankings/rankings.jsonl"]},
        folds=FOLDS,
        number=FOLD_RANKINGS,
    )
    for index in range(FOLDS):
        add_reward(build, f"unseen-fold-{index}", build[f"unseen-folds/fold-{index}/train.jsonl"])
    build.add(
        "unseen-folds-check",
        "accuracy on labelers seen and unseen, the same pairs",
        "studied_generalisation:check_folds",
        ("folds.json",),
        {
            "prompts": build["prompts/rank.jsonl"],
            "valid": tuple(build[f"unseen-folds/fold-{i}/valid.jsonl"] for i in range(FOLDS)),
            "models": tuple(build[f"unseen-fold-{i}/run/model"] for i in range(FOLDS)),
        },
    )
