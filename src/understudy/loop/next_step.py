"""What `understudy` alone shows: the loop, and the next sensible command for this folder."""

import json
from pathlib import Path

LOOP = """\
  prompts  ->  demonstrations  ->  SFT  ->  responses  ->  rankings  ->  reward model  ->  PPO-ptx
     ^                                                                                       |
     '---------------  serving, to users who consent  <-  evaluation  <----------------------'

  prompts build | label | sft | sample | label | reward | ppo | evaluate | report | serve\
"""

AFTER = {
    "sft": "understudy sample --model {run}/model --prompts PROMPTS.jsonl --out responses.jsonl",
    "reward": "understudy ppo --model RUN/model --reward-model {run}/model"
    " --prompts PROMPTS.jsonl --out runs/ppo",
    "ppo": "understudy evaluate --models sft=SFT/model ppo={run}/model"
    " --prompts PROMPTS.jsonl --out runs/evaluation",
    "evaluate": "understudy report {run}",
}
"""The command after a finished run of each stage."""
WHERE = ("run.json", "*/run.json", "*/*/run.json")
"""Where runs are looked for, so that a large folder costs nothing."""


def overview(folder: Path) -> str:
    """The loop as a diagram, then one line of advice for `folder`."""
    return f"{LOOP}\n\nNext: {next_command(folder)}\nAll commands: understudy --help"


def next_command(folder: Path) -> str:
    """The newest run in `folder` decides; without one, whether there is a project."""
    files = [path for pattern in WHERE for path in folder.glob(pattern)]
    runs = [run for run in map(_run, files) if run and run[1] in AFTER]
    if runs:
        _, stage, status, path = max(runs)
        if status != "done":
            return f"{path} is not finished; give its command again with --resume"
        return AFTER[stage].format(run=path)
    if (folder / "project.toml").exists():
        return "understudy prompts add --data PROMPTS.jsonl --project ."
    return "understudy demo (the whole loop here in minutes), or understudy new my-project"


def _run(path: Path) -> tuple[float, str, str, str] | None:
    """(when it was written, stage, status, folder) of a run.json; None for another's file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return path.stat().st_mtime, record["stage"], record["status"], str(path.parent)
    except (OSError, ValueError, KeyError, TypeError):
        return None
