"""Names the next command: after a finished command, and for the current folder."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from understudy.store.project import FILE, open_project

LOOP = """\
  prompts  ->  demonstrations  ->  SFT  ->  responses  ->  rankings  ->  reward model  ->  PPO-ptx
     ^                                                                                       |
     '---------------  serving, to users who consent  <-  evaluation  <----------------------'

  prompts build | label | sft | sample | label | reward | ppo | evaluate | report | serve\
"""

Settings = Mapping[str, Any]


def _after_sample(settings: Settings) -> str:
    if settings["project"] is not None:
        return f"understudy labels plan --project {settings['project']}"
    return (
        f"have people rank {settings['out']} (docs/labeling.md), then understudy reward "
        f"--model {settings['model']} --data RANKINGS.jsonl --out runs/reward"
    )


def _after_build(settings: Settings) -> str:
    if settings["project"] is not None:
        return f"understudy sample --model MODEL --project {settings['project']}"
    out = Path(settings["out"])
    train = out.with_suffix(f".train{out.suffix}")
    return f"understudy sample --model MODEL --prompts {train} --out responses.jsonl"


def _after_export(settings: Settings) -> str:
    trains = settings["purpose"] == "training" and settings["format"] == "jsonl"
    if not trains and settings["kind"] != "ratings":
        return ""  # no trainer may or can read it
    return {
        "demonstrations": "understudy sft --model MODEL --data FILE --out runs/sft",
        "rankings": "understudy reward --model runs/sft/model --data FILE --out runs/reward",
        "ratings": "understudy evaluate ... --responses RESPONSES.jsonl --ratings FILE",
        "feedback": "understudy kto --model runs/sft/model --data FILE --out runs/kto",
        "prompts": "understudy sample --model MODEL --prompts FILE --out responses.jsonl",
    }[settings["kind"]].replace("FILE", str(settings["out"] or "the file above"))


def _after_rollouts(name: str) -> Callable[[Settings], str]:
    return lambda s: (
        f"understudy doctor {s['out']}, then understudy evaluate --models "
        f"sft={s['model']} {name}={s['out']}/model --prompts TEST_PROMPTS.jsonl "
        f"--reward-model {s['reward_model']} --out runs/evaluation"
    )


def _after_evaluate(settings: Settings) -> str:
    best = settings["models"][-1].partition("=")[2]
    return (
        f"open {settings['out']}/report.html, then understudy serve --model {best} "
        "--project PROJECT"
    )


def _after_real(settings: Settings) -> str:
    study = settings["study"]
    folder = settings["out"] if study is None else settings["out"] / f"study_{study}"
    return f"open {folder}/report.html"


def _after_judge(settings: Settings) -> str:
    out = settings["out"]
    if settings["responses"] is not None and settings["baseline"] is None:
        return f"understudy reward --model MODEL --data {out}/rankings.jsonl --out runs/reward"
    return (
        f"understudy evaluate ... --comparisons PEOPLE --model-comparisons {out}/comparisons.jsonl"
    )


AFTER: dict[str, Callable[[Settings], str]] = {
    "data convert": lambda s: f"understudy data check {s['out']}",
    "text pack": lambda s: (
        f"understudy ppo --model {s['model']} --pretrain-data {s['out']} --reward-model RM "
        "--prompts PROMPTS.jsonl --out runs/ppo, or sft with --pretrain-fraction 0.1"
    ),
    "prompts add": lambda s: f"understudy prompts build --project {s['project']}",
    "prompts build": _after_build,
    "export": _after_export,
    "sft": lambda s: (
        f"understudy doctor {s['out']}, then understudy sample --model {s['out']}/model "
        "--prompts PROMPTS.jsonl --out responses.jsonl"
    ),
    "sample": _after_sample,
    "labels plan": lambda s: (
        f"understudy labelers invite NAME --role training --project {s['project']}"
    ),
    "labelers invite": lambda s: f"understudy label --project {s['project']}",
    "reward": lambda s: (
        f"understudy doctor {s['out']}, then understudy ppo --model {s['model']} "
        f"--reward-model {s['out']}/model --prompts PROMPTS.jsonl --out runs/ppo"
    ),
    "reward-check": lambda s: (
        f"understudy ppo --model SFT_MODEL --reward-model {s['model']} --prompts PROMPTS.jsonl "
        "--out runs/ppo"
    ),
    **{name: _after_rollouts(name) for name in ("ppo", "rloo", "grpo", "raft")},
    "dpo": lambda s: (
        f"understudy doctor {s['out']}, then understudy evaluate --models sft={s['model']} "
        f"dpo={s['out']}/model --prompts TEST_PROMPTS.jsonl --out runs/evaluation"
    ),
    "kto": lambda s: (
        f"understudy doctor {s['out']}, then understudy evaluate --models sft={s['model']} "
        f"kto={s['out']}/model --prompts TEST_PROMPTS.jsonl --out runs/evaluation"
    ),
    "evaluate": _after_evaluate,
    "judge": _after_judge,
    "benchmark": lambda s: f"understudy report EVALUATION --benchmark {s['out']}",
    "world pretrain": lambda s: f"understudy chat {s['out']}/model",
    "figures": lambda s: f"open {s['out']}/report.html",
    "demo": lambda s: f"understudy board {s['folder']}",
    "real": _after_real,
}
"""By finished command: the next command, given its settings."""
WHERE = ("run.json", "*/run.json", "*/*/run.json")
"""Where to look for runs. The depth is limited so that a large folder takes no time."""


def say_next(command: str, config: Any) -> None:
    """Print the command that follows a finished one, if any, on standard error."""
    if command not in AFTER or getattr(config, "show_plan", False):
        return
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if command == "demo":  # its default folder depends on the recipe and the seed
        settings["folder"] = config.folder
    if following := AFTER[command](settings):
        print(f"next: {following}", file=sys.stderr)


def overview(folder: Path) -> str:
    """The loop as a diagram, then one line of advice for `folder`."""
    return f"{LOOP}\n\nNext: {next_command(folder)}\nAll commands: understudy --help"


def next_command(folder: Path) -> str:
    """The command to run next, by the newest run in `folder`, or else by its project."""
    files = [path for pattern in WHERE for path in folder.glob(pattern)]
    runs = [run for run in map(_run, files) if run]
    if runs:
        _, path, advice = max(runs)
        return advice or f"{path} is not finished; give its command again with --resume"
    if (folder / FILE).exists():
        return _next_of_project(folder)
    projects = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
    if projects:
        return f"cd {projects[0]} && understudy (it is a project)"
    return "understudy demo (the whole loop here in minutes), or understudy new my-project"


def _next_of_project(folder: Path) -> str:
    """The first step of the record chain that the project's store has not seen yet."""
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    from understudy.store.labeling_tables import accounts, items
    from understudy.store.tables import labels, prompts, responses

    steps = (
        (prompts.c.id, "understudy prompts add --data PROMPTS.jsonl"),
        (prompts.c.split, "understudy prompts build --project ."),
        (responses.c.id, "understudy sample --model MODEL --project ."),
        (items.c.id, "understudy labels plan"),
        (accounts.c.id, "understudy labelers invite NAME --role training"),
        (labels.c.id, "understudy label"),
    )
    try:
        with open_project(folder).open_store().engine.connect() as connection:
            for column, command in steps:
                query = select(column).where(column.is_not(None)).limit(1)
                if connection.execute(query).first() is None:
                    return command
    except (ValueError, SQLAlchemyError) as error:
        return f"the project cannot be read: {str(error).splitlines()[0]}"
    return "understudy export rankings"


def _run(path: Path) -> tuple[float, str, str] | None:
    """(time written, folder, advice or "" if unfinished) of a run.json; None if another program
    wrote it or its stage has no next command."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings = {**record["config"], "out": str(path.parent)}
        advice = AFTER[record["stage"]](settings) if record["status"] == "done" else ""
        known = record["stage"] in AFTER
        return (path.stat().st_mtime, str(path.parent), advice) if known else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
