"""The study of harm in context: can one model follow the policy of where it is deployed?

    understudy demo --study harm

Every prompt carries a context, a system turn with a named policy (`world/policies/`). In fiction
nothing is refused; among adults, advice on hurting somebody; in a shop, theft too; among children,
insults too. --policies FOLDER gives other policies. The same response is right in one context and
wrong in another. Labelers demonstrate and rank by the policy of the context. The three steps run
twice on the same prompts: with the system turn, and without it, where labels contradict each other.
Both reward models learn from the same rankings of responses of both SFT models.
Harmful compliance and over-refusal, of allowed requests and of harmless lookalikes, are always
shown together, policy by policy. judged.jsonl has the flags of the same responses in every context.
"""

from pathlib import Path
from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_plan import add_reward, add_rl, add_rl_init, sft_inputs
from understudy.world.contexts import POLICIES, read_policies

VARIANTS = {"context": "with contexts", "plain": "without"}
"""Whether the models see the system turn."""
MODELS = {
    **{f"harm-sft-{name}": f"SFT {label}" for name, label in VARIANTS.items()},
    **{f"harm-ppo_ptx-{name}": f"PPO-ptx {label}" for name, label in VARIANTS.items()},
}
"""Models by stage, with display names."""
REWARDS = {f"harm-reward-{name}": f"Reward model {label}" for name, label in VARIANTS.items()}
FILES = ("demonstrate", "demonstrate_valid", "rank", "rank_valid", "ppo", "test")
"""The demo's prompts, each put in a context; harmful requests are added to the training ones."""
SHARES = {"demonstrate": 1.0, "demonstrate_valid": 1.0, "rank": 0.35, "rank_valid": 1.0}
"""Share of the demo's prompts that the study uses; 1 for files not named here."""
MEASURED = ("harmful", "lookalikes")
"""Prompts made for the measurement, each in every context."""
EPOCHS, RATE_FACTOR = 3, 2.0
"""Departures: the reward models' epochs, and the factor on the recipe's learning rate. With less
training so small a model often does not read the context, and prefers the same in every one."""
HARMFUL = {"demonstrate": 1.0, "rank": 1.0, "ppo": 0.3}
"""Harmful requests added per prompt used, each in every context: users send too few to learn four
policies from."""


def add_harm_study(build: Build, stage: str, policies: Path = POLICIES) -> None:
    """Both variants, and the report; ValueError if the folder's policies are not usable."""
    read_policies(policies)
    build.add(
        "harm-prompts",
        "prompts in a context, and more harmful requests",
        "studied_harm:prompts",
        tuple(f"{name}-{kind}.jsonl" for name in (*FILES, *MEASURED) for kind in VARIANTS),
        {"policies": policies, **{name: build[f"prompts/{name}.jsonl"] for name in FILES}},
        shares=SHARES,
        harmful=HARMFUL,
        number=build.recipe.evaluate.num_prompts // 2,
    )
    build.add(
        "harm-demonstrations",
        "labelers demonstrate by the policy of the context",
        "studied_harm:demonstrate",
        tuple(f"{name}-{kind}.jsonl" for name in ("train", "valid") for kind in VARIANTS),
        {
            "policies": policies,
            "labelers": build["screening/labelers.json"],
            "train": build["harm-prompts/demonstrate-context.jsonl"],
            "valid": build["harm-prompts/demonstrate_valid-context.jsonl"],
        },
        group="demonstrations",
    )
    for kind in VARIANTS:
        add_supervised(build, kind)
    add_rankings(build, policies)
    for kind in VARIANTS:
        add_feedback(build, kind)
    for model in MODELS:
        kind = model.rpartition("-")[2]
        names = (*MEASURED, "test")
        add_responses(
            build,
            f"answers-{model}",
            "responses to harmful and to ordinary requests",
            group="sampled_answers",
            model=build[f"{model}/run/model"],
            prompts=tuple(build[f"harm-prompts/{name}-{kind}.jsonl"] for name in names),
            name=model,
        )
    build.add(
        stage,
        "harmful compliance and over-refusal by policy, and a report of them",
        "studied_harm:report",
        ("results.json", "report.html", "judged.jsonl"),
        {
            "answers": tuple(build[f"answers-{model}/responses.jsonl"] for model in MODELS),
            "policies": policies,
            "labelers": build["screening/labelers.json"],
            **{name: build[f"harm-prompts/{name}-context.jsonl"] for name in (*MEASURED, "test")},
            **{name: build[f"{name}/run/model"] for name in REWARDS},
        },
        models=MODELS,
        rewards=REWARDS,
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def demonstrations_of(build: Build, kind: str) -> dict[str, Any]:
    """A variant's data of step 1."""
    return {
        "data": build[f"harm-demonstrations/train-{kind}.jsonl"],
        "valid_data": build[f"harm-demonstrations/valid-{kind}.jsonl"],
    }


def add_supervised(build: Build, kind: str) -> None:
    """Step 1, with or without the system turn in everything that the models read."""
    data = demonstrations_of(build, kind)
    build.add(
        f"harm-sft-{kind}",
        "SFT on them",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        {**sft_inputs(build), **data},
        group="sft",
        **build.recipe.sft,
    )
    add_rl_init(build, f"harm-rl_init-{kind}", {}, data)


def add_rankings(build: Build, policies: Path) -> None:
    """Responses of both SFT models to the same prompts, ranked together: a model that follows the
    policies gives labelers little to compare, and its reward model would not learn them."""
    sample, names = build.recipe.sample, []
    for kind in VARIANTS:
        for shard in range(sample.num_shards):
            names.append(f"harm-sample-{kind}-{shard}")
            add_responses(
                build,
                names[-1],
                "its responses, to rank",
                group="sample",
                model=build[f"harm-sft-{kind}/run/model"],
                prompts=build[f"harm-prompts/rank-{kind}.jsonl"],
                name=f"harm-sft-{kind}",
                min_answers=sample.min_answers // 2,
                max_answers=sample.max_answers // 2,
                temperature=sample.temperature,
                shard=[shard, sample.num_shards],
            )
    build.add(
        "harm-rankings",
        "labelers rank them by the policy of the context",
        "studied_harm:rank",
        tuple(f"rankings-{kind}.jsonl" for kind in VARIANTS),
        {
            "policies": policies,
            "labelers": build["screening/labelers.json"],
            "prompts": build["harm-prompts/rank-context.jsonl"],
            "responses": tuple(build[f"{name}/responses.jsonl"] for name in names),
        },
        group="rankings",
    )


def add_feedback(build: Build, kind: str) -> None:
    """Steps 2 and 3, with or without the system turn."""
    world = build.recipe.world
    demonstrations = demonstrations_of(build, kind)["data"]
    inputs: dict[str, Any] = {
        "model": build[f"harm-sft-{kind}/run/model"],
        "demonstrations": demonstrations,
    }
    if world.reward_size != world.policy_size:
        inputs["model"] = build.base(world.reward_size)
    rankings = build[f"harm-rankings/rankings-{kind}.jsonl"]
    longer = {"epochs": EPOCHS, "lr": RATE_FACTOR * build.recipe.reward["lr"]}
    add_reward(build, f"harm-reward-{kind}", rankings, inputs, **longer)
    add_rl(
        build,
        f"harm-ppo_ptx-{kind}",
        "ppo_ptx",
        f"harm-rl_init-{kind}",
        inputs={
            "reward_model": build[f"harm-reward-{kind}/run/model"],
            "prompts": build[f"harm-prompts/ppo-{kind}.jsonl"],
            "eval_prompts": build[f"harm-prompts/rank_valid-{kind}.jsonl"],
        },
    )
