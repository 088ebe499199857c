"""TruthfulQA on a real model: does training change how often it says what is false?

    understudy real --study hallucination

Base, SFT and PPO-ptx of the loop choose among answers (MC1, MC2) and answer the questions, with and
without the paper's instruction that allows "I have no comment" (App. D). The run's finished stages
are reused.
"""

from pathlib import Path
from typing import Any

from understudy.evaluation.harness.config import BenchmarkConfig
from understudy.evaluation.harness.data import find_rows, names_of
from understudy.loop.plan import Plan
from understudy.loop.real_plan import EVALUATED, RealRecipe, needed, real_plan, real_stage

FOLDER = "truthfulqa"
"""Folder of the data set within a folder of copies."""
TASKS = (
    "truthfulqa_mc1",
    "truthfulqa_mc2",
    "paper_truthfulqa_qa",
    "paper_truthfulqa_qa_instruction",
)
DATA_SETS = ("truthfulqa", "truthfulqa_mc")
"""What the tasks read, by the names of docs/benchmarks.md."""
REPORT = "study_hallucination"


def real_hallucination_plan(
    recipe: RealRecipe, seed: int, data: Path | None, model: Path | None
) -> Plan:
    """The stages of the loop that train the models, and the study."""
    stages = {stage.name: stage for stage in real_plan(recipe, seed, data, model).stages}
    settings = {"tasks": TASKS, **recipe.truthfulqa}
    # Bad values are refused here, not after the training.
    BenchmarkConfig(models=("base=base",), out=Path(), **settings)
    inputs: dict[str, Any] = {n: stages[f"answers_{n}"].inputs["model"] for n in EVALUATED}
    if data is not None:
        inputs["data_dir"] = checked(data / FOLDER)
    stages[REPORT] = real_stage(
        recipe,
        seed,
        REPORT,
        "base, SFT and PPO-ptx on TruthfulQA, and a report",
        "real_hallucination:report",
        "results.json report.html",
        threads=stages["ppo_ptx"].threads,
        config=settings,
        **inputs,
    )
    return needed(stages, REPORT)


def checked(folder: Path) -> Path:
    """The folder; ValueError if a data set is missing, before anything trains."""
    for name in DATA_SETS:
        if not folder.is_dir() or find_rows(folder, name) is None:
            raise ValueError(f"--study hallucination needs {names_of(name)} in {folder}")
    return folder
