"""What a command loads before it runs: nothing that only its work, or other commands, need."""

import subprocess
import sys

from understudy.cli import COMMANDS

HEAVY = ("torch", "transformers", "alembic", "fastapi", "pydantic", "uvicorn", "sqlalchemy.orm")
"""Each takes a tenth of a second or more."""
OF_PEOPLE = ("store", "labeling", "serving", "prompts")
PROGRAM = """
import sys
from understudy.cli import main
for name in sys.argv[2].split(","):
    assert main([*name.split(), "--help"]) == 0, name
    loaded = sorted(set(sys.argv[1].split(",")) & sys.modules.keys())
    assert not loaded, f"{name} loads {loaded}"
"""


def test_help_loads_nothing_heavy() -> None:
    names = [c.name for c in COMMANDS if c.module.split(".")[1] in OF_PEOPLE]
    assert len(names) > 20
    command = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), ",".join(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
