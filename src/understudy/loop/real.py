"""The loop on a real pretrained model and real people's rankings.

    rankings -> SFT -> reward model, and a second one as judge -> PPO-ptx -> evaluation -> report

`understudy real` runs it in runs/real: SmolLM2-135M-Instruct from its PyPI package, data sets by
their hub names or from a folder of copies. After an interruption the same command continues.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from understudy.loop.demo import show_plan
from understudy.loop.real_hallucination import real_hallucination_plan
from understudy.loop.real_methods import real_methods_plan
from understudy.loop.real_plan import load_real_recipe, real_plan
from understudy.loop.runner import run_plan

PRELOAD = ("torch", "transformers", "understudy.models.scalar", "understudy.engines.generation")
DATA_VARIABLE = "REAL_DATA"
STUDIES = {"methods": real_methods_plan, "hallucination": real_hallucination_plan}


@dataclass(frozen=True, kw_only=True, slots=True)
class RealConfig:
    """Run the whole loop on SmolLM2-135M and people's rankings: about 40 minutes on two cores."""

    out: Path = Path("runs/real")
    """Folder of the run."""
    data: Path | None = None
    """Folder of copies of the data sets; default: the environment variable REAL_DATA, else the
    hub."""
    model: Path | None = None
    """Model folder to use instead of SmolLM2's package."""
    recipe: str = "real"
    """Recipe of the settings: a TOML file, or the name of a packaged one."""
    seed: int = 0
    """Seed of the split, the training and the sampling."""
    workers: int = 0
    """Stages to run at the same time, each with one thread, except for those in the recipe's
    [threads]; 0: the number of cores, at most 2."""
    study: Literal["methods", "hallucination"] | None = None
    """Instead of the loop's report, a study: methods (PPO-ptx beside RLOO, GRPO, RAFT, DPO and KTO
    from the same SFT model) or hallucination (base, SFT and PPO-ptx on TruthfulQA); it reuses the
    loop's stages and writes its own report."""
    show_plan: bool = False
    """Only list the stages: which are finished, which would run, and why."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 1 or more, or 0 for all cores")

    @property
    def copies(self) -> Path | None:
        """`data`, or the folder in the environment variable."""
        named = os.environ.get(DATA_VARIABLE)
        return self.data or (Path(named) if named else None)


def run_real(config: RealConfig) -> str:
    """Bring the folder up to date; the result in a few lines."""
    from understudy.loop.display import open_display

    for name, folder in (("data", config.copies), ("model", config.model)):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{name} {folder} is not a folder")
    recipe = load_real_recipe(config.recipe)
    if config.study == "hallucination":
        from understudy.evaluation.harness.run import check_installed

        check_installed()
    make = real_plan if config.study is None else STUDIES[config.study]
    plan, root = make(recipe, config.seed, config.copies, config.model), config.out
    if config.show_plan:
        return show_plan(plan, root)
    with open_display(f"understudy real, seed {config.seed}, in {root}") as display:
        run_plan(plan, root, workers=config.workers, display=display, preload=PRELOAD)
    if config.study is not None:
        return f"\nreport: {root / f'study_{config.study}' / 'report.html'}"
    for name in ("results.json", "report.html"):
        shutil.copyfile(root / "report" / name, root / name)
    return headline(json.loads((root / "results.json").read_text()), root)


def headline(results: Mapping[str, Any], root: Path) -> str:
    """The results with intervals, and the report's path."""
    reward = results["reward_model"]
    rows = {
        "reward model on held-out pairs": reward["accuracy"],
        "  the length rule": reward["length_only"],
        "  above it, pair by pair": reward["above_length"],
        "second reward model": reward["accuracy_second"],
    }
    judges = {"reward_model": "reward model", "second_reward_model": "second reward model"}
    for model in ("base", "sft_null", "ppo_ptx"):
        for key, judge in judges.items():
            rows[f"{model} above sft, {judge}"] = results[f"win_rates_vs_sft_{key}"][model]
    lines = [f"{name:<40}{_percent(row)}" for name, row in rows.items()]
    curve = results["ppo_curve"]["ppo_ptx"]
    if curve:
        lines.append(f"{'KL of ppo_ptx, nats per response':<40}{curve[-1]['kl']:.2f}")
    for model in ("base", "sft", "ppo_ptx"):
        words, score = results["answers"][model]["words"], results["benchmarks"][model]
        lines.append(
            f"{model:<10}words {_mean(words)}, HellaSwag {_percent(score['hellaswag'])}, loss on "
            f"text {results['pretraining_loss'][model]:.3f}"
        )
    return "\n".join(["", *lines, "", f"report: {root / 'report.html'}"])


def _percent(row: Mapping[str, Any]) -> str:
    return f"{row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%})"


def _mean(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
