"""What a command loads: nothing that only its work, or other commands, need."""

import subprocess
import sys
from pathlib import Path

import pytest

from understudy.cli import COMMANDS
from understudy.commands.new import NewConfig, new_project
from understudy.commands.users import AddUserConfig, add_user
from understudy.loop.commands import TRAINERS

NEVER = ("torch", "transformers", "matplotlib", "pandas", "starlette", "pydantic", "uvicorn")
"""What no command of people's work needs; each takes a tenth of a second or more."""
SQL = ("sqlalchemy", "alembic")
"""What only a store that is opened, or made, needs."""
OF_PEOPLE = ("commands", "labeling", "serving", "prompts")
OTHERS = ("data check", "data convert", "check-deployment", "report", "board", "doctor", "launch")
PROGRAM = """
import sys
from understudy.cli import main
for line in sys.argv[2:]:
    assert main(line.split()) == 0, line
    loaded = sorted(set(sys.argv[1].split(",")) & sys.modules.keys())
    assert not loaded, f"{line} loads {loaded}"
"""


def run(unwanted: tuple[str, ...], *lines: str) -> None:
    """The commands, one after the other in a new process that must load nothing unwanted."""
    command = [sys.executable, "-c", PROGRAM, ",".join(unwanted), *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_opens_no_store() -> None:
    names = [c.name for c in COMMANDS if c.module.split(".")[1] in OF_PEOPLE]
    assert len(names) > 20
    run((*NEVER, *SQL), *(f"{name} --help" for name in (*names, *OTHERS, *TRAINERS)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    new_project(NewConfig(folder=folder))
    add_user(AddUserConfig(user="ann", project=folder, consent=True))
    return folder


def test_work_on_a_store_loads_what_it_needs(project: Path) -> None:
    unwanted = (*NEVER, "alembic", "numpy", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql")
    lines = (
        "users list",
        "users key ann",
        "users forget ann --dry-run",
        "prompts expire --days 9 --dry-run",
        "labelers invite Olga --owner",
        "labelers list",
        "labels plan",
        "labels seen --labeler Olga",
        "store check",
    )
    run(unwanted, *(f"{line} --project {project}" for line in lines))


def test_a_used_folder_is_refused_before_torch_loads(tmp_path: Path) -> None:
    data, used = tmp_path / "data.jsonl", tmp_path / "used"
    data.write_text('{"prompt": "a", "response": "b"}\n')
    used.mkdir()
    (used / "notes.txt").touch()
    program = """
import sys
from understudy.cli import main
assert main(sys.argv[1:]) == 2
assert "torch" not in sys.modules
"""
    words = ["sft", "--model", "none", "--data", str(data), "--out", str(used)]
    for command in (words, ["world", "pretrain", "--out", str(used)]):
        done = subprocess.run(
            [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "is not empty and holds no run (found notes.txt); choose another" in done.stderr


def test_work_on_files_opens_no_store(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text('{"id": "p1", "prompt": "Name a prime.", "user_id": "ann", "consent": true}\n')
    built = tmp_path / "built.jsonl"
    run(
        (*NEVER, *SQL, "numpy", "urllib.request"),
        f"prompts show --data {data}",
        f"prompts build --data {data} --out {built} --split-key key",
        f"data check {data}",
    )
