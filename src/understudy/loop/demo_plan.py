"""The stages of the demo and their dependencies; `demo.py` runs them."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_evaluation import evaluation
from understudy.loop.plan import Artifact, Plan
from understudy.loop.recipe import Recipe

YOUR_LABELS = "your_labels"
"""The stage in which the user ranks."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


def demo_plan(recipe: Recipe, seed: int, label: int = 0) -> Plan:
    """All stages of the demo; with `label`, the user ranks that many prompts too."""
    build = build_until_rl(recipe, seed, label)
    evaluation(build)
    return Plan(tuple(build.stages.values()))


def build_until_rl(recipe: Recipe, seed: int, label: int) -> Build:
    """All stages up to the gate before RL."""
    build = Build(recipe, seed, label)
    given(build)
    people(build)
    supervised(build)
    feedback(build)
    add_rl(build, "ppo", "ppo")
    add_rl(build, "ppo_ptx", "ppo_ptx")
    return build


PROMPT_FILES = (
    "demonstrate",
    "demonstrate_valid",
    "rank",
    "rank_valid",
    "screen",
    "ppo",
    "test",
    "seen",
    "unclear",
    "closed",
    "rude",
)


def given(build: Build) -> None:
    """The inputs: prompts, pretraining text, benchmarks."""
    recipe, world, labels = build.recipe, build.recipe.world, build.recipe.labels
    build.add(
        "prompts",
        "users' prompts: consent, personal data, duplicates, cap, split by user",
        "users:prompts",
        ("project.json", "intake.json", *(f"{name}.jsonl" for name in PROMPT_FILES)),
        {},
        num_users=world.num_users,
        intake=asdict(recipe.intake),
        num_demonstrations=labels.num_demonstrations,
        num_valid_demonstrations=labels.num_valid_demonstrations,
        num_rankings=labels.num_rankings,
        num_valid_rankings=labels.num_valid_rankings,
        num_screening_prompts=labels.num_screening_prompts,
        num_prompts=recipe.evaluate.num_prompts,
        num_closed_prompts=recipe.evaluate.num_closed_prompts,
        num_rude_prompts=recipe.evaluate.num_rude_prompts,
    )
    build.add(
        "text",
        "pages of the web, to mix into training and for the pretraining loss",
        "users:text",
        ("pretraining.jsonl", "held_out.jsonl", "prefix.txt"),
        {},
        **asdict(recipe.text),
    )
    build.add(
        "benchmarks",
        "few-shot questions for the alignment tax",
        "users:benchmarks",
        ("items",),
        {},
        num_items=recipe.evaluate.num_benchmark_items,
    )


def people(build: Build) -> None:
    """Labelers are screened and demonstrate."""
    labels = build.recipe.labels
    add_responses(
        build,
        "screening_answers",
        "responses of the prompted base model, for the screening of labelers",
        model=build.base(build.recipe.world.policy_size),
        prompts=build["prompts/screen.jsonl"],
        prefix=build["text/prefix.txt"],
        name="prompted",
        min_answers=4,
        max_answers=6,
        temperature=1.0,
    )
    build.add(
        "screening",
        "labelers take a screening test before they label anything",
        "labels:screen",
        ("labelers.json",),
        {
            "project": build["prompts/project.json"],
            "prompts": build["prompts/screen.jsonl"],
            "responses": build["screening_answers/responses.jsonl"],
        },
        cutoffs=dict(labels.screening_cutoffs),
    )
    build.add(
        "demonstrations",
        "labelers write the responses that they would want",
        "labels:demonstrate",
        ("demonstrations.jsonl", "valid.jsonl"),
        {
            "project": build["prompts/project.json"],
            "labelers": build["screening/labelers.json"],
            "demonstrations": build["prompts/demonstrate.jsonl"],
            "valid": build["prompts/demonstrate_valid.jsonl"],
        },
    )


def supervised(build: Build) -> None:
    """Step 1: the SFT model, the model that RL starts from, and a larger one for the scores."""
    recipe, world = build.recipe, build.recipe.world
    data = sft_inputs(build)
    build.add(
        "sft",
        "step 1: the model imitates the demonstrations",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        data,
        **recipe.sft,
    )
    add_rl_init(build, "rl_init", {})
    if world.reward_size != world.policy_size:
        build.add(
            "sft_reward",
            "SFT of the larger model that the reward model starts from",
            "train_sft:sft",
            ("run/model", "run/results.json"),
            {**data, "model": build.base(world.reward_size)},
            **recipe.sft_reward,
        )


def sft_inputs(build: Build) -> dict[str, Any]:
    """The base model and the demonstrations."""
    return {
        "model": build.base(build.recipe.world.policy_size),
        "data": build["demonstrations/demonstrations.jsonl"],
        "valid_data": build["demonstrations/valid.jsonl"],
    }


def add_rl_init(
    build: Build, name: str, changes: Mapping[str, Any], inputs: Mapping[str, Any] = NOTHING
) -> None:
    """The RL init, with changed settings or inputs; without a mix it reads no pretraining text."""
    settings = {**build.recipe.rl_init, **changes}
    text = {"text": build["text/pretraining.jsonl"]} if settings.get("pretrain_fraction") else {}
    build.add(
        name,
        "the RL init: SFT for 2 epochs with pretraining text mixed in",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        {**sft_inputs(build), **text, **inputs},
        group="rl_init",
        **settings,
    )


def feedback(build: Build) -> None:
    """Step 2: sampled responses, rankings, the reward model, and the gate before RL."""
    recipe, sample = build.recipe, build.recipe.sample
    for shard in range(sample.num_shards):
        add_responses(
            build,
            f"sample-{shard}",
            "step 2: K = 4 to 9 responses to each prompt",
            group="sample",
            model=build["sft/run/model"],
            prompts=(build["prompts/rank.jsonl"], build["prompts/rank_valid.jsonl"]),
            name="sft",
            max_response_tokens=sample.max_response_tokens,
            min_answers=sample.min_answers,
            max_answers=sample.max_answers,
            temperature=sample.temperature,
            shard=[shard, sample.num_shards],
        )
    responses = tuple(
        build[f"sample-{shard}/responses.jsonl"] for shard in range(sample.num_shards)
    )
    build.add(
        "rankings",
        "labelers rank the responses, ties allowed",
        "labels:rank",
        ("rankings.jsonl", "valid.jsonl", "agreement.json"),
        {
            "project": build["prompts/project.json"],
            "labelers": build["screening/labelers.json"],
            "prompts": build["prompts/rank.jsonl"],
            "valid": build["prompts/rank_valid.jsonl"],
            "responses": responses,
        },
        overlap=recipe.labels.overlap,
    )
    simulated = build["rankings/rankings.jsonl"]
    rankings = add_your_labels(build, responses) if build.label else simulated
    build.add(
        "reward",
        "a model learns to score responses as the labelers rank them",
        "train_reward:reward",
        ("run/model", "run/results.json"),
        {
            "model": reward_start(build),
            "data": rankings,
            "valid_data": build["rankings/valid.jsonl"],
            "demonstrations": build["demonstrations/demonstrations.jsonl"],
        },
        **recipe.reward,
    )
    build.add(
        "reward_check",
        "how often it agrees with labelers and the truth, beside the best possible",
        "checks:reward",
        ("reward.json",),
        {
            "reward_model": build["reward/run/model"],
            "results": build["reward/run/results.json"],
            "rankings": build["rankings/valid.jsonl"],
            "responses": responses,
            "prompts": build["prompts/rank_valid.jsonl"],
            "labelers": build["screening/labelers.json"],
            "agreement": build["rankings/agreement.json"],
        },
    )
    build.add(
        "without_labels",
        "how often the base model agrees with them without any labels",
        "verdicts:without_labels",
        ("without_labels.json",),
        {
            "model": build.base(recipe.world.reward_size),
            "rankings": build["rankings/valid.jsonl"],
            "responses": responses,
            "prompts": build["prompts/rank_valid.jsonl"],
        },
    )
    if build.label:
        add_your_check(build)
    add_best_of(build)


def reward_start(build: Build) -> Artifact:
    """The model that reward models start from: SFT's, or a larger one's after SFT."""
    same = build.recipe.world.reward_size == build.recipe.world.policy_size
    return build["sft/run/model" if same else "sft_reward/run/model"]


def add_reward(
    build: Build, name: str, data: Artifact, inputs: Mapping[str, Any] = NOTHING, **changes: Any
) -> None:
    """A reward model on other rankings, with changed settings or inputs."""
    build.add(
        name,
        "a model learns to score responses from other rankings",
        "train_reward:reward",
        ("run/model", "run/results.json"),
        {
            "model": reward_start(build),
            "data": data,
            "demonstrations": build["demonstrations/demonstrations.jsonl"],
            **inputs,
        },
        group="reward",
        **{**build.recipe.reward, **changes},
    )


def add_your_labels(build: Build, responses: tuple[Artifact, ...]) -> Artifact:
    """Add the stage in which the user ranks; returns its output, everybody's rankings."""
    prompts, ranked = build["prompts/rank.jsonl"], build["rankings/rankings.jsonl"]
    build.add(
        YOUR_LABELS,
        "you rank too: open the link in a browser",
        "your_labels:ask",
        ("yours.jsonl", "rankings.jsonl"),
        {"prompts": prompts, "responses": responses, "rankings": ranked},
        number=build.label,
    )
    return build[f"{YOUR_LABELS}/rankings.jsonl"]


def add_your_check(build: Build) -> None:
    """Agreement of the user's rankings with the judges'."""
    prompts, ranked = build["prompts/rank.jsonl"], build["rankings/rankings.jsonl"]
    build.add(
        "your_check",
        "how often you agree with the gold judge, the labelers and the reward model",
        "your_check:check",
        ("your_labels.json",),
        {
            "yours": build[f"{YOUR_LABELS}/yours.jsonl"],
            **{"prompts": prompts, "rankings": ranked, "reward_model": build["reward/run/model"]},
        },
    )


def add_best_of(build: Build) -> None:
    """Best-of-n from SFT by the reward model's score: a baseline, and the gate before RL."""
    settings = build.recipe.evaluate
    shards = range(settings.num_shards)
    for shard in shards:
        add_responses(
            build,
            f"best_of_answers-{shard}",
            f"{settings.best_of + 1} responses per test prompt, to choose the best of n",
            group="best_of_answers",
            model=build["sft/run/model"],
            prompts=build["prompts/test.jsonl"],
            name="sft_samples",
            num_samples=settings.best_of + 1,
            max_prompts=settings.num_best_of_prompts,
            shard=[shard, settings.num_shards],
        )
    add_best_of_scores(build, "gate", build["reward/run/model"], settings.stop_at_gate)


def add_best_of_scores(build: Build, name: str, reward_model: Artifact, stop_at_gate: bool) -> None:
    """Best-of-n from SFT by a reward model, judged in stage `name`."""
    settings = build.recipe.evaluate
    shards = range(settings.num_shards)
    prefix = "best_of_scores" if name == "gate" else f"{name}-scores"
    for shard in shards:
        build.add(
            f"{prefix}-{shard}",
            "the reward model scores them",
            "responses:score",
            ("scores.json",),
            {
                "reward_model": reward_model,
                "responses": build[f"best_of_answers-{shard}/responses.jsonl"],
            },
            group="best_of_scores",
        )
    build.add(
        name,
        "does choosing by its score give better responses?"
        + (" only then RL starts" if name == "gate" else ""),
        "judging:best_of",
        ("best_of.json", "picked.jsonl"),
        {
            "prompts": build["prompts/test.jsonl"],
            "responses": tuple(build[f"best_of_answers-{i}/responses.jsonl"] for i in shards),
            "scores": tuple(build[f"{prefix}-{i}/scores.json"] for i in shards),
        },
        group="gate",
        best_of=settings.best_of,
        stop_at_gate=stop_at_gate,
    )


def add_rl(
    build: Build,
    name: str,
    kind: str,
    start: str = "rl_init",
    changes: Mapping[str, Any] = NOTHING,
    inputs: Mapping[str, Any] = NOTHING,
) -> None:
    """Step 3: PPO ("ppo") or PPO with the pretraining mix ("ppo_ptx"), with changed settings or
    inputs."""
    recipe, mixed = build.recipe, kind == "ppo_ptx"
    settings = {**recipe.ppo, **recipe.ppo_ptx} if mixed else {**recipe.ppo, "ptx_coef": 0.0}
    meaning = "step 3: the policy learns from the reward model's scores"
    build.add(
        name,
        meaning + (", and keeps its pretraining" if mixed else ""),
        "train_ppo:ppo",
        ("run/model", "run/samples.jsonl"),
        {
            "model": build[f"{start}/run/model"],
            "reward_model": build["reward/run/model"],
            "prompts": build["prompts/ppo.jsonl"],
            "eval_prompts": build["prompts/rank_valid.jsonl"],
            "gate": build["gate/best_of.json"],
            **({"text": build["text/pretraining.jsonl"]} if mixed else {}),
            **inputs,
        },
        group=kind,
        **{**settings, **changes},
    )
