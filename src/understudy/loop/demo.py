"""The demo: the whole InstructGPT loop in the tiny world, as a plan of stages.

    users -> prompts -> demonstrations -> SFT -> responses -> rankings -> reward model
          -> RL init -> PPO and PPO-ptx -> evaluation by held-out labelers -> report

`understudy demo` runs it in runs/demo. After an interruption the same command continues; after a
change to a setting or the code, only dependent stages run again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from understudy.loop.ablation import Ablation, ablation_plan
from understudy.loop.demo_plan import YOUR_LABELS, demo_plan
from understudy.loop.link import WithLink
from understudy.loop.plan import Plan, check_plan
from understudy.loop.recipe import load_recipe
from understudy.loop.runner import run_plan
from understudy.loop.study import Study, study_plan

PRELOAD = (
    "torch",
    "transformers",
    "understudy.models.scalar",
    "understudy.engines.generation",
    "understudy.store",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """Run the whole loop in the tiny world: 6 to 12 minutes on two cores, or 2 with --quick."""

    out: Path | None = None
    """Folder of the demo; runs/demo (runs/quick with --quick), with "-seedN" for other seeds."""
    seed: int = 0
    """Seed of the users, labelers, training and sampling."""
    seeds: int = 1
    """With --ablation or --study: the number of seeds to run it with, from --seed upwards. Each has
    a folder of its own; a further report has the means, with intervals over the seeds."""
    quick: bool = False
    """A smaller demo, to check that everything works; its figures mean little."""
    recipe: str | None = None
    """Recipe of the settings: a TOML file, or the name of a packaged one ("demo", "quick")."""
    workers: int = 0
    """Stages to run at the same time, each with one thread; 0: the number of cores, at most 2."""
    show_plan: bool = False
    """Only list the stages: which are finished, which would run, and why."""
    label: int = 0
    """Prompts whose responses you rank yourself, in the browser, as one of the training labelers;
    the demo prints a link and waits for you. 0: none."""
    ablation: Ablation | None = None
    """Instead of the demo's report, one of the paper's ablations of RL (E.6 to E.11): beta, ptx,
    lr, init or epochs; it reuses the demo's stages and writes its own report."""
    study: Study | None = None
    """Instead of the demo's report, a study of an open question: methods (PPO beside RLOO, GRPO,
    RAFT, DPO and KTO), labelers (one label per prompt, or three on a third of them), groups (what a
    group gains, and others lose, if its members count more), overoptimisation (a judge and
    ensembles against an exploited reward model, and how far reward models of several sizes can be
    optimised), generalisation (a language, a task, users and labelers left out), hallucination
    (what lowers made-up answers) or harm (one model, a policy per context); it reuses the demo's
    stages and writes its own report."""
    policies: Path | None = None
    """With --study harm: a folder of policies, a TOML file per deployment context, instead of the
    packaged four."""
    overwrite: bool = False
    """Reuse a folder with a demo of another seed or recipe; stages that are still valid stay."""

    def __post_init__(self) -> None:
        if self.quick and self.recipe is not None:
            raise ValueError("--quick is the recipe quick; give --quick or --recipe, not both")
        if self.ablation is not None and self.study is not None:
            raise ValueError("give --ablation or --study, not both")
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}; it must be 1 or more")
        if self.seeds > 1 and self.own_report is None:
            raise ValueError("--seeds is for --ablation or --study; add one, or omit --seeds")
        if self.seeds > 1 and self.label:
            raise ValueError("--label is for one seed; omit --label or --seeds")
        if self.label and self.study not in (None, "methods"):
            raise ValueError(f"the study {self.study} does not use your labels; omit --label")
        if self.policies is not None and self.study != "harm":
            raise ValueError("--policies is for --study harm; add that, or omit --policies")
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 1 or more, or 0 for all cores")
        if self.label < 0:
            raise ValueError(f"label is {self.label}; it must be 1 or more, or 0 to label nothing")

    @property
    def recipe_name(self) -> str:
        """The recipe in use."""
        return self.recipe or ("quick" if self.quick else "demo")

    @property
    def own_report(self) -> str | None:
        """The stage that writes the report of an ablation or a study, if there is one."""
        if self.ablation is not None:
            return f"ablation_{self.ablation}"
        return None if self.study is None else f"study_{self.study}"

    @property
    def folder(self) -> Path:
        """`out`, or the default folder."""
        suffix = f"-seed{self.seed}" if self.seed else ""
        return self.out or Path("runs") / f"{Path(self.recipe_name).stem}{suffix}"


def run_demo(config: DemoConfig) -> str | None:
    """Bring the demo's folder up to date; returns the headline and the report's path."""
    if config.seeds > 1:
        return run_seeds(config)
    from understudy.loop.display import open_display

    recipe = load_recipe(config.recipe_name)
    root = config.folder
    if config.ablation is not None:
        plan = ablation_plan(recipe, config.seed, config.ablation, config.label)
    elif config.study is not None:
        plan = study_plan(recipe, config.seed, config.study, config.label, config.policies)
    else:
        plan = demo_plan(recipe, config.seed, config.label)
    if config.show_plan:
        return show_plan(plan, root)
    if config.label:
        check_pages()
    claim_folder(root, config)
    with open_display(f"understudy demo, seed {config.seed}, in {root}") as display:
        words = f"Rank {config.label} prompts in your browser, then the demo continues:"
        shown = WithLink(display, root / YOUR_LABELS, words) if config.label else display
        run_plan(plan, root, workers=config.workers, display=shown, preload=PRELOAD)
    if config.own_report is not None:
        return f"\nreport: {root / config.own_report / 'report.html'}"
    for name in ("results.json", "report.html"):
        shutil.copyfile(root / "report" / name, root / name)
    return headline(json.loads((root / "results.json").read_text()), root)


def run_seeds(config: DemoConfig) -> str:
    """Run an ablation or a study with each seed, then write the report of all."""
    from understudy.evaluation.report import write_report
    from understudy.evaluation.seeds import pooled
    from understudy.training.run import write_atomic

    lines, runs = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        out = config.out and Path(f"{config.out}-seed{seed}")
        one = replace(config, seed=seed, seeds=1, out=config.out if seed == config.seed else out)
        said = run_demo(one) or ""
        lines.append(f"{one.folder}:\n{said}" if config.show_plan else said)
        if not config.show_plan:
            path = one.folder / str(one.own_report) / "results.json"
            runs.append(json.loads(path.read_text(encoding="utf-8")))
    if config.show_plan:
        return "\n".join(lines)
    folder = config.folder / f"{config.own_report}_seeds"
    folder.mkdir(exist_ok=True)
    results = pooled(runs)
    write_atomic(folder / "results.json", json.dumps(results, indent=1))
    write_report(results, folder / "report.html")
    return f"{''.join(lines)}\nreport of all: {folder / 'report.html'}"


def check_pages() -> None:
    """ValueError, before anything runs, if the labelers' pages' packages are not installed."""
    missing = [name for name in ("argon2", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ValueError(f"--label needs {' and '.join(missing)}: pip install 'understudy[label]'")


def show_plan(plan: Plan, root: Path) -> str:
    """A line per stage: finished, or the reason to run it."""
    width = max(len(stage.name) for stage in plan.stages)
    return "\n".join(
        f"{check.stage:<{width}}  {'finished' if check.fresh else check.reason}"
        for check in check_plan(plan, root)
    )


def claim_folder(root: Path, config: DemoConfig) -> None:
    """Refuse a folder with other content; record seed and recipe in demo.json."""
    mine = {"seed": config.seed, "recipe": config.recipe_name}
    note = root / "demo.json"
    if note.exists():
        theirs = json.loads(note.read_text())
        if theirs != mine and not config.overwrite:
            raise ValueError(
                f"{root} holds another demo (seed {theirs['seed']}, recipe {theirs['recipe']}); "
                "choose another --out or pass --overwrite"
            )
    elif root.is_dir() and (found := sorted(p.name for p in root.iterdir())):
        raise ValueError(f"{root} holds other files ({found[0]}) and no demo; choose another --out")
    root.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(mine))


def headline(results: Mapping[str, Any], root: Path) -> str:
    """The demo's result in a few lines."""
    lines = ["", f"{'against SFT':<12}{'held-out labelers':>24}{'gold judge':>24}"]
    gold = results["win_rates_vs_sft_gold"]
    for model, row in results["win_rates_vs_sft"].items():
        lines.append(f"{model:<12}{_interval(row):>24}{_interval(gold[model]):>24}")
    return "\n".join([*lines, "", f"report: {root / 'report.html'}"])


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
