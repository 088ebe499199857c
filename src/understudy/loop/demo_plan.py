"""The stages of the demo and how they hang together; `demo.py` runs them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from understudy.loop.plan import Artifact, Plan, Stage
from understudy.loop.recipe import Recipe

STAGES = "understudy.loop.stages"
MODELS = ("base", "prompted", "sft", "sft_null", "ppo", "ppo_ptx")
"""What is evaluated, best-of-n apart: the paper's five kinds of model, and SFT against itself."""
TRAINED = ("base", "sft", "ppo", "ppo_ptx")
"""What the alignment tax is measured on."""
YOUR_LABELS = "your_labels"
"""The stage in which the user ranks."""


def demo_plan(recipe: Recipe, seed: int, label: int = 0) -> Plan:
    """All stages of the demo; with `label`, the user ranks so many prompts too."""
    build = _Build(recipe, seed, label)
    given(build)
    people(build)
    supervised(build)
    feedback(build)
    reinforcement(build)
    evaluation(build)
    return Plan(tuple(build.stages.values()))


class _Build:
    """Collects stages; each part of the plan adds its own."""

    def __init__(self, recipe: Recipe, seed: int, label: int) -> None:
        self.recipe, self.seed, self.label = recipe, seed, label
        self.stages: dict[str, Stage] = {}

    def add(
        self,
        name: str,
        meaning: str,
        function: str,
        outputs: tuple[str, ...],
        inputs: Mapping[str, Any],
        /,
        *,
        group: str = "",
        **config: Any,
    ) -> None:
        """Add a stage; every one knows the seed."""
        self.stages[name] = Stage(
            name=name,
            meaning=meaning,
            function=f"{STAGES}.{function}",
            inputs=inputs,
            outputs=outputs,
            config={"seed": self.seed, **config},
            seconds=float(self.recipe.seconds.get(group or name, 5.0)),
            group=group,
        )

    def __getitem__(self, reference: str) -> Artifact:
        """`build["sft/run/model"]`: output run/model of stage sft."""
        stage, _, output = reference.partition("/")
        return self.stages[stage].output(output)

    def base(self, size: str) -> Path:
        """The packaged base model of this size; a folder stands for itself."""
        if Path(size).is_dir():
            return Path(size)
        from understudy.world.bases import base_model_path

        return base_model_path(size)


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


def given(build: _Build) -> None:
    """What is there before anybody labels: prompts, pretraining text, benchmarks."""
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
        "pages of the web, to mix into training and to measure on",
        "users:text",
        ("pretraining.jsonl", "held_out.jsonl", "prefix.txt"),
        {},
        **asdict(recipe.text),
    )
    build.add(
        "benchmarks",
        "questions about what pretraining taught",
        "users:benchmarks",
        ("items",),
        {},
        num_items=recipe.evaluate.num_benchmark_items,
    )


def people(build: _Build) -> None:
    """Labelers are screened and demonstrate."""
    labels = build.recipe.labels
    add_answers(
        build,
        "screening_answers",
        "the prompted base model answers, for the screening of labelers",
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
        "labelers take a test before they label anything",
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
        "labelers write the answers that they would want",
        "labels:demonstrate",
        ("demonstrations.jsonl", "valid.jsonl"),
        {
            "project": build["prompts/project.json"],
            "labelers": build["screening/labelers.json"],
            "demonstrations": build["prompts/demonstrate.jsonl"],
            "valid": build["prompts/demonstrate_valid.jsonl"],
        },
    )


def supervised(build: _Build) -> None:
    """Step 1: the SFT model, the model that RL starts from, and a larger one for the scores."""
    recipe, world = build.recipe, build.recipe.world
    data = {
        "model": build.base(world.policy_size),
        "data": build["demonstrations/demonstrations.jsonl"],
        "valid_data": build["demonstrations/valid.jsonl"],
    }
    build.add(
        "sft",
        "step 1: the model imitates the demonstrations",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        data,
        **recipe.sft,
    )
    build.add(
        "rl_init",
        "where RL starts: SFT for 2 epochs with pretraining text mixed in",
        "train_sft:sft",
        ("run/model", "run/results.json"),
        {**data, "text": build["text/pretraining.jsonl"]},
        **recipe.rl_init,
    )
    if world.reward_size != world.policy_size:
        build.add(
            "sft_reward",
            "SFT of the larger model from which the reward model starts",
            "train_sft:sft",
            ("run/model", "run/results.json"),
            {**data, "model": build.base(world.reward_size)},
            **recipe.sft_reward,
        )


def feedback(build: _Build) -> None:
    """Step 2: sampled answers, rankings, the reward model, and the gate before RL."""
    recipe, sample = build.recipe, build.recipe.sample
    for shard in range(sample.num_shards):
        add_answers(
            build,
            f"sample-{shard}",
            "step 2: K = 4 to 9 answers to each prompt",
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
        "labelers rank the answers, ties allowed",
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
    same = recipe.world.reward_size == recipe.world.policy_size
    build.add(
        "reward",
        "a model learns to score answers as the labelers rank them",
        "train_reward:reward",
        ("run/model", "run/results.json"),
        {
            "model": build["sft/run/model" if same else "sft_reward/run/model"],
            "data": rankings,
            "valid_data": build["rankings/valid.jsonl"],
            "demonstrations": build["demonstrations/demonstrations.jsonl"],
        },
        **recipe.reward,
    )
    build.add(
        "reward_check",
        "how often it agrees with labelers, with the truth, and with the best possible",
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
    if build.label:
        add_your_check(build)
    add_best_of(build)


def add_your_labels(build: _Build, responses: tuple[Artifact, ...]) -> Artifact:
    """The user ranks too: everybody's rankings."""
    prompts, ranked = build["prompts/rank.jsonl"], build["rankings/rankings.jsonl"]
    build.add(
        YOUR_LABELS,
        "you rank as well: open the link in a browser",
        "your_labels:ask",
        ("yours.jsonl", "rankings.jsonl"),
        {"prompts": prompts, "responses": responses, "rankings": ranked},
        number=build.label,
    )
    return build[f"{YOUR_LABELS}/rankings.jsonl"]


def add_your_check(build: _Build) -> None:
    """How the user's rankings compare with everybody's."""
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


def add_best_of(build: _Build) -> None:
    """Best-of-n from SFT by the reward model's score: a baseline, and the gate before RL."""
    settings = build.recipe.evaluate
    shards = range(settings.num_shards)
    for shard in shards:
        add_answers(
            build,
            f"best_of_answers-{shard}",
            f"{settings.best_of + 1} answers per test prompt, to choose the best of n",
            group="best_of_answers",
            model=build["sft/run/model"],
            prompts=build["prompts/test.jsonl"],
            name="sft_samples",
            num_samples=settings.best_of + 1,
            max_prompts=settings.num_best_of_prompts,
            shard=[shard, settings.num_shards],
        )
        build.add(
            f"best_of_scores-{shard}",
            "the reward model scores them",
            "answers:score",
            ("scores.json",),
            {
                "reward_model": build["reward/run/model"],
                "responses": build[f"best_of_answers-{shard}/responses.jsonl"],
            },
            group="best_of_scores",
        )
    build.add(
        "gate",
        "does choosing by its score choose better answers? only then RL starts",
        "judging:best_of",
        ("best_of.json", "picked.jsonl"),
        {
            "prompts": build["prompts/test.jsonl"],
            "responses": tuple(build[f"best_of_answers-{i}/responses.jsonl"] for i in shards),
            "scores": tuple(build[f"best_of_scores-{i}/scores.json"] for i in shards),
        },
        best_of=settings.best_of,
        stop_at_gate=settings.stop_at_gate,
    )


def reinforcement(build: _Build) -> None:
    """Step 3: PPO, and PPO with the pretraining mix, side by side."""
    recipe = build.recipe
    inputs = {
        "model": build["rl_init/run/model"],
        "reward_model": build["reward/run/model"],
        "prompts": build["prompts/ppo.jsonl"],
        "eval_prompts": build["prompts/rank_valid.jsonl"],
        "gate": build["gate/best_of.json"],
    }
    for name, settings, more in (
        ("ppo", {**recipe.ppo, "ptx_coef": 0.0}, {}),
        ("ppo_ptx", {**recipe.ppo, **recipe.ppo_ptx}, {"text": build["text/pretraining.jsonl"]}),
    ):
        meaning = "step 3: the policy learns from the reward model's scores"
        build.add(
            name,
            meaning + (", and keeps its pretraining" if more else ""),
            "train_ppo:ppo",
            ("run/model", "run/samples.jsonl"),
            {**inputs, **more},
            **settings,
        )


def evaluation(build: _Build) -> None:
    """What the models say to users that no training has seen, and what people think of it."""
    settings = build.recipe.evaluate
    for name in MODELS:
        for mode in ("sampled", "greedy"):
            if (name, mode) != ("sft_null", "greedy"):  # it would be the same answers again
                add_evaluated_answers(build, name, mode)
    for name in TRAINED:
        build.add(
            f"tax_{name}",
            "the alignment tax: benchmarks and pretraining loss",
            "measure:tax",
            ("tax.json",),
            {
                "model": model_of(build, name),
                "benchmarks": build["benchmarks/items"],
                "text": build["text/held_out.jsonl"],
            },
            group="tax",
        )
    for mode in ("sampled", "greedy"):
        names = [name for name in MODELS if f"{mode}_{name}" in build.stages]
        files = [build[f"{mode}_{name}/responses.jsonl"] for name in names]
        if mode == "sampled":
            files.append(build["gate/picked.jsonl"])
        build.add(
            f"judge_{mode}",
            "held-out labelers, training labelers and the gold judge compare the answers",
            "judging:judge",
            ("judged.json",),
            {
                "project": build["prompts/project.json"],
                "prompts": build["prompts/test.jsonl"],
                "closed": build["prompts/closed.jsonl"],
                "rude": build["prompts/rude.jsonl"],
                "labelers": build["screening/labelers.json"],
                "answers": tuple(files),
            },
            group="judge",
            labels_per_comparison=settings.labels_per_comparison,
        )
    add_report(build)


def add_report(build: _Build) -> None:
    """results.json and the report from all that was measured."""
    recipe = build.recipe
    build.add(
        "report",
        "results.json and report.html",
        "your_check:report" if build.label else "results:report",
        ("results.json", "report.html"),
        {
            **({"your_labels": build["your_check/your_labels.json"]} if build.label else {}),
            "intake": build["prompts/intake.json"],
            "screening": build["screening/labelers.json"],
            "agreement": build["rankings/agreement.json"],
            "reward": build["reward_check/reward.json"],
            "best_of": build["gate/best_of.json"],
            "prompts": build["prompts/test.jsonl"],
            "sampled": build["judge_sampled/judged.json"],
            "greedy": build["judge_greedy/judged.json"],
            "answers": tuple(
                build[f"sampled_{name}/responses.jsonl"] for name in MODELS if name != "sft_null"
            ),
            "picked": build["gate/picked.jsonl"],
            **{f"tax_{name}": build[f"tax_{name}/tax.json"] for name in TRAINED},
            **{
                f"samples_{name}": build[f"{name}/run/samples.jsonl"] for name in ("ppo", "ppo_ptx")
            },
            "curve_prompts": build["prompts/rank_valid.jsonl"],
        },
        settings={k: v for k, v in asdict(recipe).items() if k != "seconds"},
        stages={stage.row: stage.meaning for stage in build.stages.values()},
        rows={stage.name: stage.row for stage in build.stages.values()},
    )


def model_of(build: _Build, name: str) -> Artifact | Path:
    """The model that answers under this name."""
    if name in ("base", "prompted"):
        return build.base(build.recipe.world.policy_size)
    return build[f"{name.removesuffix('_null')}/run/model"]


def add_evaluated_answers(build: _Build, name: str, mode: str) -> None:
    """A model's answers to the test prompts, the closed-domain ones and the rude ones."""
    inputs: dict[str, Any] = {"prefix": build["text/prefix.txt"]} if name == "prompted" else {}
    add_answers(
        build,
        f"{mode}_{name}",
        "every model answers the prompts of unseen users"
        + (", at temperature 1" if mode == "sampled" else ", its likeliest words"),
        group=f"{mode}_answers",
        model=model_of(build, name),
        prompts=tuple(build[f"prompts/{file}.jsonl"] for file in ("test", "closed", "rude")),
        **inputs,
        name=name,
        plain=name == "base",
        greedy=mode == "greedy",
        seed=build.seed + (1 if name == "sft_null" else 0),
    )


def add_answers(
    build: _Build,
    stage: str,
    meaning: str,
    *,
    model: Any,
    prompts: Any,
    prefix: Any = None,
    group: str = "",
    **config: Any,
) -> None:
    """A stage in which a model answers prompts."""
    inputs = {"model": model, "prompts": prompts}
    if prefix is not None:
        inputs["prefix"] = prefix
    build.add(
        stage,
        meaning,
        "answers:answer",
        ("responses.jsonl",),
        inputs,
        group=group,
        **{"max_response_tokens": build.recipe.evaluate.max_response_tokens, **config},
    )
