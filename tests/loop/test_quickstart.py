"""README's quickstart, line by line, on a tiny model and a few records."""

import json
import re
import shlex
from pathlib import Path

import pytest
from tests.docs.pages import README, commands
from tests.fixtures_models import save_model_folder
from tests.loop.test_own_files import PROMPTS, TEXT, write_rows

from understudy.cli import main

SECTION = "## Quickstart on your own model"
SHORT = ["--max-response-tokens", "8"]
SMALLER = {"sft": ["--epochs", "1"], "ppo": ["--episodes", "64", *SHORT], "evaluate": SHORT}
"""What is cut to spend seconds; the last of two equal options counts."""
PAIRS = [
    {
        "chosen": f"\n\nHuman: Say {n}.\n\nAssistant: {n}!",
        "rejected": f"\n\nHuman: Say {n}.\n\nAssistant: No.",
    }
    for n in ("one", "two", "three", "four")
]


def quickstart() -> list[str]:
    text = README.read_text(encoding="utf-8")
    section = re.split(r"^## ", text[text.index(SECTION) + 3 :], flags=re.MULTILINE)[0]
    return commands(section, "understudy")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model_folder(tmp_path / "MODEL")
    write_rows(tmp_path / "preferences.jsonl", PAIRS)
    write_rows(tmp_path / "prompts.jsonl", [row for row in PROMPTS if row["split"] == "train"])
    write_rows(tmp_path / "test.jsonl", [row for row in PROMPTS if row["split"] == "test"])
    (tmp_path / "pages.txt").write_text(TEXT)
    return tmp_path


def test_every_line_of_the_quickstart_runs(folder: Path) -> None:
    lines = quickstart()
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line)[1:]
        assert main([*words, *SMALLER.get(words[0], [])]) == 0, line
    results = json.loads((folder / "runs" / "evaluation" / "results.json").read_text())
    assert results
    assert (folder / "runs" / "evaluation" / "report.html").exists()
