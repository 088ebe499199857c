"""The methods beside each other on a real model, without a judge that knows the truth.

    understudy real --study methods

RLOO, GRPO, RAFT and DPO start from the same SFT model as PPO-ptx. Those that sample draw as many
episodes in as many iterations from the same reward model; DPO learns from the rankings that it was
trained on. The second reward model, of other conversations, judges; no method has seen it. The
run's finished stages are reused. Departure: one learning rate each, where the tiny world has three.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.loop.plan import Plan, Stage
from understudy.loop.real_plan import STAGES, RealRecipe, real_plan

SAMPLERS = ("rloo", "grpo", "raft")
METHODS = ("ppo_ptx", *SAMPLERS, "dpo")
SHARED = (
    "episodes",
    "batch_size",
    "temperature",
    "warmup_iterations",
    "max_response_tokens",
    "missing_eos_score",
    "length_coef",
    "micro_batch_tokens",
    "lora_rank",
    "eval_every",
    "save_every",
)
"""Settings that the methods which sample share with PPO-ptx."""
REPORT = "study_methods"


def real_methods_plan(recipe: RealRecipe, seed: int, data: Path | None, model: Path | None) -> Plan:
    """The stages of the loop that the methods need, the methods, and their report."""
    loop = real_plan(recipe, seed, data, model)
    stages = {stage.name: stage for stage in loop.stages}
    like = {"answers": stages["answers_ppo_ptx"], "tax": stages["tax_ppo_ptx"]}

    def add(
        name: str, meaning: str, function: str, outputs: str, group: str = "", **given: Any
    ) -> None:
        settings = {"seed": seed, **given.pop("config", {})}
        threads = given.pop("threads", 1)
        stages[name] = Stage(
            name=name,
            meaning=meaning,
            function=f"{STAGES}.{function}",
            inputs=given,
            outputs=tuple(outputs.split()),
            config=settings,
            seconds=float(recipe.seconds.get(group or name, 60.0)),
            threads=threads,
            group=group,
        )

    def follow(kind: str, method: str) -> None:
        """The same measurement as PPO-ptx's, of another model."""
        of = like[kind]
        config = {**of.config, **({"name": method} if "name" in of.config else {})}
        changed = {**of.inputs, "model": stages[method].output("run/model")}
        stages[f"{kind}_{method}"] = replace(
            of, name=f"{kind}_{method}", inputs=changed, config=config
        )

    start, made = stages["sft"].output("run/model"), stages["data"].output
    for method in METHODS[1:]:
        own: Mapping[str, Any] = getattr(recipe, method)
        given: dict[str, Any] = {"model": start, "threads": stages["ppo_ptx"].threads}
        if method in SAMPLERS:
            given |= {
                "reward_model": stages["reward"].output("run/model"),
                "prompts": made("prompts.jsonl"),
                "eval_prompts": made("eval_prompts.jsonl"),
            }
            own = {**{key: recipe.ppo[key] for key in SHARED if key in recipe.ppo}, **own}
            meaning = "the policy learns from several responses to each prompt"
            outputs = "run/model run/samples.jsonl run/results.json"
            add(method, meaning, f"train_groups:{method}", outputs, config=own, **given)
        else:
            given |= {"rankings": made("rankings.jsonl"), "valid": made("held_out.jsonl")}
            meaning = "the policy learns from the rankings themselves"
            add(
                method,
                meaning,
                "train_offline:dpo",
                "run/model run/results.json",
                config=own,
                **given,
            )
        follow("answers", method)
        follow("tax", method)
    for method in METHODS:
        add(
            f"kl_{method}",
            "how far the policy has moved",
            "measure:divergence",
            "kl.json",
            group="kl",
            model=stages[method].output("run/model"),
            reference=start,
            responses=stages[f"answers_{method}"].output("responses.jsonl"),
            prompts=made("test_prompts.jsonl"),
        )
    names = ("sft", "sft_null", *METHODS)
    measured: dict[str, Any] = {
        f"{kind}_{method}": stages[f"{kind}_{method}"].output(f"{kind}.json")
        for kind in ("kl", "tax")
        for method in METHODS
    }
    measured |= {f"model_{method}": stages[method].output("run/model") for method in METHODS}
    add(
        REPORT,
        "both reward models compare the responses with SFT's, and a report",
        "real_methods:report",
        "results.json report.html",
        prompts=made("test_prompts.jsonl"),
        responses=tuple(stages[f"answers_{name}"].output("responses.jsonl") for name in names),
        reward_model=stages["reward"].output("run/model"),
        second_reward_model=stages["second_reward"].output("run/model"),
        tax_sft=stages["tax_sft"].output("tax.json"),
        **measured,
        config={
            "models": ["sft", *METHODS],
            "methods": list(METHODS),
            "settings": {name: getattr(recipe, name) for name in ("ppo", *METHODS[1:])},
        },
    )
    return Plan(tuple(stage for stage in stages.values() if stage.name in needed(stages)))


def needed(stages: Mapping[str, Stage]) -> set[str]:
    """Names of the report's stage and of those that it depends on."""
    found, waiting = set(), {REPORT}
    while waiting:
        found |= waiting
        waiting = {need for name in waiting for need in stages[name].needs()} - found
    return found
