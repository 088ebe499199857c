"""The methods compared on a real model, without a judge that knows the truth.

    understudy real --study methods

RLOO, GRPO, RAFT and DPO start from the same SFT model as PPO-ptx. RLOO, GRPO and RAFT use the same
reward model and as many episodes and iterations as PPO-ptx; DPO learns from the rankings that the
reward model was trained on. The judge is the second reward model, trained on other conversations,
which no method uses. The run's finished stages are reused. Departure: each method has one learning
rate, where the tiny world's study has three.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from understudy.loop.plan import Plan, Stage
from understudy.loop.real_plan import RealRecipe, needed, real_plan, real_stage

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
    make = partial(real_stage, recipe, seed)
    for method in METHODS[1:]:
        stages[method] = trained(make, stages, recipe, method)
        for kind in ("answers", "tax"):
            stages[f"{kind}_{method}"] = measured_alike(stages, kind, method)
    for method in METHODS:
        stages[f"kl_{method}"] = make(
            f"kl_{method}",
            "how far the policy has moved",
            "measure:divergence",
            "kl.json",
            "kl",
            model=stages[method].output("run/model"),
            reference=stages["sft"].output("run/model"),
            responses=stages[f"answers_{method}"].output("responses.jsonl"),
            prompts=stages["data"].output("test_prompts.jsonl"),
        )
    stages[REPORT] = reported(make, stages, recipe)
    return needed(stages, REPORT)


def trained(
    make: Callable[..., Stage], stages: Mapping[str, Stage], recipe: RealRecipe, method: str
) -> Stage:
    """A method's training, from the SFT model."""
    made, own = stages["data"].output, getattr(recipe, method)
    shared = {"model": stages["sft"].output("run/model"), "threads": stages["ppo_ptx"].threads}
    if method not in SAMPLERS:
        return make(
            method,
            "the policy learns from the rankings themselves",
            f"train_offline:{method}",
            "run/model run/results.json",
            rankings=made("rankings.jsonl"),
            valid=made("held_out.jsonl"),
            config=own,
            **shared,
        )
    return make(
        method,
        "the policy learns from several responses to each prompt",
        f"train_groups:{method}",
        "run/model run/samples.jsonl run/results.json",
        reward_model=stages["reward"].output("run/model"),
        prompts=made("prompts.jsonl"),
        eval_prompts=made("eval_prompts.jsonl"),
        config={**{key: recipe.ppo[key] for key in SHARED if key in recipe.ppo}, **own},
        **shared,
    )


def measured_alike(stages: Mapping[str, Stage], kind: str, method: str) -> Stage:
    """A measurement of PPO-ptx, repeated for another model."""
    of = stages[f"{kind}_ppo_ptx"]
    config = {**of.config, **({"name": method} if "name" in of.config else {})}
    inputs = {**of.inputs, "model": stages[method].output("run/model")}
    return replace(of, name=f"{kind}_{method}", inputs=inputs, config=config)


def reported(make: Callable[..., Stage], stages: Mapping[str, Stage], recipe: RealRecipe) -> Stage:
    """The stage that compares all methods."""
    measured: dict[str, Any] = {
        f"{kind}_{method}": stages[f"{kind}_{method}"].output(f"{kind}.json")
        for kind in ("kl", "tax")
        for method in METHODS
    }
    measured |= {f"model_{method}": stages[method].output("run/model") for method in METHODS}
    answers = (stages[f"answers_{name}"] for name in ("sft", "sft_null", *METHODS))
    return make(
        REPORT,
        "both reward models compare the responses with SFT's, and a report",
        "real_methods:report",
        "results.json report.html",
        prompts=stages["data"].output("test_prompts.jsonl"),
        responses=tuple(stage.output("responses.jsonl") for stage in answers),
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
