"""What commands that need no torch cost: processor time of `--help`, and of a small job.

    python benchmarks/startup.py [COMMAND ...] [--times 5]

Prints seconds of processor time (user and system, the best of several runs) for each command. A
job works on a project with a few records. Bytecode is cached, as after an installation, in a
temporary folder; servers, and commands that wait for other people, only show their help.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

JOBS = {
    "new": "{folder}/new{run}",
    "users add": "bob --consent --project {project}",
    "users key": "ann --project {project}",
    "users revoke": None,
    "users list": "--project {project}",
    "users forget": "ann --dry-run --project {project}",
    "serve": None,
    "prompts add": "--data {prompts} --project {project}",
    "prompts write": None,
    "prompts build": "--data {prompts} --out {folder}/built{run}.jsonl --split-key key",
    "prompts show": "--data {prompts}",
    "prompts expire": "--days 365 --dry-run --project {project}",
    "data check": "{rankings}",
    "data convert": "{rankings} --out {folder}/converted{run}.jsonl",
    "launch": None,
    "labels add": "--labelers {labelers} --project {project}",
    "labels rubric": "v1 --instructions {rubric} --priorities helpful --project {project}",
    "labels plan": "--project {project}",
    "labels agreement": "--project {project}",
    "labels seen": "--labeler Olga --project {project}",
    "labels weights": "{folder}/weights{run}.json --rankings {rankings}",
    "labelers invite": "Ann{run} --project {project}",
    "labelers list": "--project {project}",
    "labelers decide": "Olga --role researcher --project {project}",
    "labelers disable": "Olga --project {project}",
    "labelers enable": "Olga --project {project}",
    "labelers reset": "Olga --project {project}",
    "label": None,
    "export": "prompts --out {folder}/prompts{run}.jsonl --project {project}",
    "lineage": None,
    "store check": "--project {project}",
    "store backup": "{folder}/backup{run} --project {project}",
    "store upgrade": None,
    "check-deployment": None,
    "report": None,
    "board": None,
    "doctor": None,
    "chat": None,
}
"""Command -> the options of a small job, or None where only help is measured."""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Processor time of a command that must succeed."""
    before = os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return sum(getattr(after, f"children_{kind}") for kind in ("user", "system")) - sum(
        getattr(before, f"children_{kind}") for kind in ("user", "system")
    )


def write_files(folder: Path) -> dict[str, str]:
    """A few records: their names and paths."""
    prompts = [
        {"id": f"p{number}", "prompt": f"Write {number} words.", "user_id": "ann", "consent": True}
        for number in range(8)
    ]
    rankings = [
        {
            "id": f"r{number}{labeler}",
            "prompt_id": f"p{number}",
            "prompt": f"Write {number} words.",
            "responses": ["some", "a few more"],
            "tiers": [[0], [1]],
            "labeler_id": labeler,
        }
        for number in range(8)
        for labeler in ("Lena", "Max")
    ]
    labelers = [{"id": name, "role": "training"} for name in ("Lena", "Max")]
    files = {"rubric": str(folder / "rubric.txt")}
    Path(files["rubric"]).write_text("Prefer what helps.\n")
    for name, rows in (("prompts", prompts), ("rankings", rankings), ("labelers", labelers)):
        files[name] = str(folder / f"{name}.jsonl")
        Path(files[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def main() -> None:
    """Make a project, then print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="*", help="only these, like 'labels plan'")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        places = {"folder": name, "project": str(folder / "project"), **write_files(folder)}

        def took(arguments: str, run: int) -> float:
            words = [word.format(**places, run=run) for word in arguments.split()]
            return seconds([sys.executable, "-m", "understudy.cli", *words], environment)

        for arguments in (
            "new {project}",
            "users add ann --consent --project {project}",
            "prompts add --data {prompts} --project {project}",
            "prompts build --project {project}",
            "labels add --labelers {labelers} --rankings {rankings} --project {project}",
            "labelers invite Olga --project {project}",
        ):
            took(arguments, 0)
        print(f"{'command':<18} {'--help':>7} {'a job':>7}")
        for command in options.command or JOBS:
            job, runs = JOBS[command], range(1, options.times + 1)
            shown = min(took(f"{command} --help", run) for run in runs)
            done = "" if job is None else min(took(f"{command} {job}", run) for run in runs)
            print(f"{command:<18} {shown:>7.2f} {done if done == '' else f'{done:.2f}':>7}")


if __name__ == "__main__":
    main()
