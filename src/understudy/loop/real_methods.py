"""The methods compared on a real model, without a judge that knows the truth.

    understudy real --study methods

RLOO, GRPO, RAFT, DPO and KTO start from the same SFT model as PPO-ptx, each at its own learning
rate and at those that the recipe's [rates] adds. RLOO, GRPO and RAFT use the same reward model and
as many episodes and iterations as PPO-ptx; DPO and KTO learn from the rankings that the reward
model was trained on. Best-of-n chooses among SFT's responses by that reward model. The judge is the
second reward model, trained on other conversations, which no method uses. The run's finished stages
are reused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from understudy.loop.plan import Plan, Stage
from understudy.loop.real_plan import RealRecipe, needed, real_plan, real_stage

SAMPLERS = ("rloo", "grpo", "raft")
METHODS = ("ppo_ptx", *SAMPLERS, "dpo", "kto")
BEST_OF = (2, 4, 8)
"""From how many responses best-of-n chooses."""
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
    arms = []
    for method, rates in rates_of(stages, recipe).items():
        for lr in rates:
            own = stages[method]
            arm = method if lr == own.config["lr"] else f"{method}-{lr}"
            if arm != method:
                config = {**own.config, "lr": lr}
                stages[arm] = replace(own, name=arm, config=config, group=method)
            arms.append({"stage": arm, "series": method, "value": str(lr)})
            add_measurements(make, stages, arm)
    add_best_of(make, stages)
    stages[REPORT] = reported(make, stages, recipe, arms)
    return needed(stages, REPORT)


def rates_of(stages: Mapping[str, Stage], recipe: RealRecipe) -> dict[str, list[float]]:
    """Each method's learning rates in order: its own and those in [rates]. ValueError if it has
    none, or if [rates] names something else or has a rate that is not above 0."""
    for name, rates in recipe.rates.items():
        if name not in METHODS:
            raise ValueError(f"[rates] names {name!r}; the methods are {', '.join(METHODS)}")
        if min(rates, default=1.0) <= 0:
            raise ValueError(
                f"[rates] has {min(rates):g} of {name}; a learning rate must be above 0"
            )
    for method in METHODS:
        if "lr" not in stages[method].config:
            section = "ppo" if method == "ppo_ptx" else method
            raise ValueError(f"the study of methods needs lr in the recipe's [{section}]")
    return {
        method: sorted({float(stages[method].config["lr"]), *recipe.rates.get(method, ())})
        for method in METHODS
    }


def add_measurements(make: Callable[..., Stage], stages: dict[str, Stage], arm: str) -> None:
    """The responses, alignment tax and KL of a trained model."""
    for kind in ("answers", "tax"):
        stages[f"{kind}_{arm}"] = measured_alike(stages, kind, arm)
    stages[f"kl_{arm}"] = make(
        f"kl_{arm}",
        "how far the policy has moved",
        "measure:divergence",
        "kl.json",
        "kl",
        model=stages[arm].output("run/model"),
        reference=stages["sft"].output("run/model"),
        responses=stages[f"answers_{arm}"].output("responses.jsonl"),
        prompts=stages["data"].output("test_prompts.jsonl"),
    )


def add_best_of(make: Callable[..., Stage], stages: dict[str, Stage]) -> None:
    """The best of several responses of the SFT model, by the reward model."""
    of = stages["answers_sft"]
    config = {**of.config, "name": "sft_pool", "num_samples": max(BEST_OF)}
    stages["answers_pool"] = replace(of, name="answers_pool", config=config)
    pool = stages["answers_pool"].output("responses.jsonl")
    stages["scores_pool"] = make(
        "scores_pool",
        "the reward model scores several responses to each prompt",
        "responses:score",
        "scores.json",
        reward_model=stages["reward"].output("run/model"),
        responses=pool,
    )
    stages["best_of"] = make(
        "best_of",
        "the best of several responses",
        "real_methods:choose",
        "responses.jsonl",
        scores=stages["scores_pool"].output("scores.json"),
        responses=pool,
        config={"sizes": BEST_OF},
    )


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


def reported(
    make: Callable[..., Stage],
    stages: Mapping[str, Stage],
    recipe: RealRecipe,
    arms: Sequence[Mapping[str, str]],
) -> Stage:
    """The stage that compares all methods."""
    names = [arm["stage"] for arm in arms]
    measured: dict[str, Any] = {
        f"{kind}_{name}": stages[f"{kind}_{name}"].output(f"{kind}.json")
        for kind in ("kl", "tax")
        for name in names
    }
    measured |= {f"model_{name}": stages[name].output("run/model") for name in names}
    answers = (stages[f"answers_{name}"] for name in ("sft", "sft_null", *names))
    return make(
        REPORT,
        "both reward models compare the responses with SFT's, and a report",
        "real_methods:report",
        "results.json report.html",
        prompts=stages["data"].output("test_prompts.jsonl"),
        responses=tuple(stage.output("responses.jsonl") for stage in (*answers, stages["best_of"])),
        reward_model=stages["reward"].output("run/model"),
        second_reward_model=stages["second_reward"].output("run/model"),
        tax_sft=stages["tax_sft"].output("tax.json"),
        **measured,
        config={
            "models": ["sft", *names, *(f"best_of_{n}" for n in BEST_OF)],
            "arms": arms,
            "best_of": BEST_OF,
            "settings": {name: getattr(recipe, name) for name in ("ppo", *METHODS[1:])},
        },
    )
