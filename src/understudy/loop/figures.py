"""The paper's Figure 1 in the tiny world: is a small aligned model preferred to a large base?

    understudy figures

Runs the demo for every size of the base model, then compares all their responses with those of the
largest SFT model (the paper: with the 175B SFT model). Departure: each size has its own rankings
and reward model, based on its own SFT model's responses; the paper used one 6B reward model.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.loop.demo import PRELOAD, DemoConfig, claim_folder
from understudy.loop.demo_plan import demo_plan
from understudy.loop.plan import Plan, Stage
from understudy.loop.recipe import load_recipe
from understudy.loop.runner import run_plan

COMPARED = ("base", "prompted", "sft", "ppo", "ppo_ptx")
"""The models of the paper's Figure 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FiguresConfig:
    """Run the demo for several sizes of the base model, and compare them."""

    out: Path = Path("runs/figures")
    """Folder: a demo per size, and the comparison."""
    sizes: tuple[str, ...] = ("200k", "1m", "3m")
    """Base models from small to large: packaged sizes or model folders."""
    seed: int = 0
    """Seed of the users, labelers, training and sampling."""
    recipe: str = "demo"
    """Recipe of the settings, the same for every size."""
    workers: int = 0
    """Stages to run at the same time, each with one thread; 0: the number of cores, at most 2."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise ValueError(f"sizes is {self.sizes}; give two or more to compare")


def run_figures(config: FiguresConfig) -> Path:
    """Run every size's demo, then the comparison; returns the report."""
    from understudy.loop.display import open_display

    recipe = load_recipe(config.recipe)
    folders = {size: config.out / Path(size).name for size in config.sizes}
    plans = {
        size: demo_plan(replace(recipe, world=replace(recipe.world, policy_size=size)), config.seed)
        for size in config.sizes
    }
    for size, plan in plans.items():
        root = folders[size]
        claim_folder(root, DemoConfig(seed=config.seed, recipe=config.recipe))
        with open_display(f"understudy figures, size {size}, in {root}") as display:
            run_plan(plan, root, workers=config.workers, display=display, preload=PRELOAD)
    compare = config.out / "compare"
    with open_display(f"understudy figures, all sizes, in {compare}") as display:
        run_plan(comparison_plan(config, folders), compare, display=display, preload=PRELOAD)
    for name in ("results.json", "report.html"):
        shutil.copyfile(compare / "by_size" / name, config.out / name)
    return config.out / "report.html"


def comparison_plan(config: FiguresConfig, folders: dict[str, Path]) -> Plan:
    """One stage: all models' responses against those of the largest SFT model."""
    responses = {
        f"answers_{Path(size).name}": tuple(
            root / f"sampled_{model}" / "responses.jsonl" for model in COMPARED
        )
        for size, root in folders.items()
    }
    largest = folders[config.sizes[-1]]
    stage = Stage(
        name="by_size",
        meaning="held-out labelers and the gold judge compare all sizes with the largest SFT model",
        function="understudy.loop.stages.sizes:compare",
        inputs={"prompts": largest / "prompts" / "test.jsonl", **responses},
        outputs=("results.json", "report.html"),
        config={
            "seed": config.seed,
            "sizes": [Path(size).name for size in config.sizes],
            "recipe": config.recipe,
        },
    )
    return Plan((stage,))
