"""TruthfulQA on a real model: does training change how often it says what is false?

    understudy real --study hallucination

Base, SFT and PPO-ptx of the loop choose among answers (MC1, MC2) and answer the questions, with and
without the paper's instruction that allows "I have no comment" (App. D). The run's finished stages
are reused.
"""

from pathlib import Path
from typing import Any

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
REPORT = "study_hallucination"


def real_hallucination_plan(
    recipe: RealRecipe, seed: int, data: Path | None, model: Path | None
) -> Plan:
    """The stages of the loop that train the models, and the study."""
    if data is not None and not (data / FOLDER).is_dir():
        raise ValueError(
            f"{data / FOLDER} is not a folder; this study needs TruthfulQA.csv and mc_task.json "
            "in it"
        )
    stages = {stage.name: stage for stage in real_plan(recipe, seed, data, model).stages}
    inputs: dict[str, Any] = {n: stages[f"answers_{n}"].inputs["model"] for n in EVALUATED}
    if data is not None:
        inputs["data_dir"] = data / FOLDER
    stages[REPORT] = real_stage(
        recipe,
        seed,
        REPORT,
        "base, SFT and PPO-ptx on TruthfulQA, and a report",
        "real_hallucination:report",
        "results.json report.html",
        threads=stages["ppo_ptx"].threads,
        config={"tasks": TASKS, **recipe.truthfulqa},
        **inputs,
    )
    return needed(stages, REPORT)
