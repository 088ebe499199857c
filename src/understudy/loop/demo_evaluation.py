"""The demo's stages that judge the trained models and write the report."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.plan import Artifact

MODELS = ("base", "prompted", "sft", "sft_null", "rl_init", "ppo", "ppo_ptx")
"""The evaluated models, besides best-of-n: the paper's five kinds, SFT against itself, and the RL
init."""
COLD = {"base": "base_07", "prompted": "prompted_07"}
"""Models not trained on demonstrations are also sampled at the temperature of the paper's
baselines, under separate names."""
COLD_TEMPERATURE = 0.7
TRAINED = ("base", "sft", "rl_init", "ppo", "ppo_ptx")
"""The models whose alignment tax is measured."""


def evaluation(build: Build) -> None:
    """The models' responses to unseen users' prompts, and people's judgements of them."""
    settings = build.recipe.evaluate
    for name in MODELS:
        for mode in ("sampled", "greedy"):
            if (name, mode) != ("sft_null", "greedy"):  # the same responses as sft's
                add_evaluated_responses(build, name, mode)
    for name, cold in COLD.items():
        add_evaluated_responses(build, name, "sampled", cold)
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
        names = [n for n in (*MODELS, *COLD.values()) if f"{mode}_{n}" in build.stages]
        files = [build[f"{mode}_{name}/responses.jsonl"] for name in names]
        more: dict[str, Any] = {}
        if mode == "sampled":
            files.append(build["gate/picked.jsonl"])
            more = {name: build[f"prompts/{name}.jsonl"] for name in ("seen", "unclear")}
            more["cold"] = build["greedy_sft/responses.jsonl"]
        build.add(
            f"judge_{mode}",
            "held-out labelers, training labelers and the gold judge compare the responses",
            "judging:judge",
            ("judged.json",),
            {
                "project": build["prompts/project.json"],
                "prompts": build["prompts/test.jsonl"],
                "closed": build["prompts/closed.jsonl"],
                "rude": build["prompts/rude.jsonl"],
                "labelers": build["screening/labelers.json"],
                "answers": tuple(files),
                **more,
            },
            group="judge",
            labels_per_comparison=settings.labels_per_comparison,
        )
    add_adversaries(build)
    add_report(build)


def add_adversaries(build: Build) -> None:
    """The stage that compares responses made without knowledge of preferences with SFT's."""
    settings = build.recipe.evaluate
    build.add(
        "adversaries",
        "can a response win without any knowledge of what people want?",
        "adversaries:adversaries",
        ("adversaries.json",),
        {
            "model": build.base(build.recipe.world.policy_size),
            "prompts": build["prompts/test.jsonl"],
            "answers": build["sampled_sft/responses.jsonl"],
            "responses": tuple(
                build[f"best_of_answers-{shard}/responses.jsonl"]
                for shard in range(settings.num_shards)
            ),
            "labelers": build["screening/labelers.json"],
        },
        best_of=settings.best_of,
        labels_per_comparison=settings.labels_per_comparison,
    )


def add_report(build: Build) -> None:
    """results.json and the report from all measurements."""
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
            "without_labels": build["without_labels/without_labels.json"],
            "best_of": build["gate/best_of.json"],
            "prompts": build["prompts/test.jsonl"],
            "sampled": build["judge_sampled/judged.json"],
            "greedy": build["judge_greedy/judged.json"],
            "adversaries": build["adversaries/adversaries.json"],
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


def model_of(build: Build, name: str) -> Artifact | Path:
    """The model evaluated under this name."""
    if name in ("base", "prompted"):
        return build.base(build.recipe.world.policy_size)
    return build[f"{name.removesuffix('_null')}/run/model"]


def add_evaluated_responses(build: Build, name: str, mode: str, cold: str | None = None) -> None:
    """A model's responses to the test prompts, the closed-domain ones and the rude ones; as model
    `cold`, at the temperature of the paper's baselines."""
    settings: dict[str, Any] = {"prefix": build["text/prefix.txt"]} if name == "prompted" else {}
    if mode == "greedy":
        settings["greedy"] = True
    elif cold is not None:
        settings["temperature"] = COLD_TEMPERATURE
    # Seen requests are separated from new ones for sampled responses only.
    files = ("test", "seen", "unclear", "closed", "rude")
    asked = files if mode == "sampled" else ("test", "closed", "rude")
    add_responses(
        build,
        f"{mode}_{cold or name}",
        "every model responds to the prompts of unseen users"
        + (", by sampling" if mode == "sampled" else ", greedily"),
        group=f"{mode}_answers",
        model=model_of(build, name),
        prompts=tuple(build[f"prompts/{file}.jsonl"] for file in asked),
        name=cold or name,
        plain=name == "base",
        **settings,
    )
