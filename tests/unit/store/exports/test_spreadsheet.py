"""CSV for spreadsheets: nothing in it is calculated, and nothing of it is cut."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores import fill

from understudy.cli import main
from understudy.commands.export import ExportConfig, export
from understudy.commands.users import ForgetConfig, forget
from understudy.records import Prompt, Rating, read_records
from understudy.store.exports.spreadsheet import BOM, FORMULA, cell, csv_lines
from understudy.store.maintenance import check

TEXTS = st.text(alphabet="=+-@\t\r\n'\",;a1\u00e9\uff1d")


@given(ids=st.lists(TEXTS.filter(bool), min_size=1), text=TEXTS)
def test_no_cell_is_a_formula_and_every_cell_is_whole(ids, text) -> None:
    made = [Prompt(id=name, prompt=f"={text}x", user_id=text, tags={"=a": text}) for name in ids]
    data = b"".join(csv_lines(Prompt, made)).decode()
    assert data.startswith(BOM)
    header, *rows = csv.reader(data.removeprefix(BOM).splitlines(keepends=True), strict=True)
    assert header[:3] == ["id", "prompt", "user_id"]
    assert len(rows) == len(ids)
    for name, row in zip(ids, rows, strict=True):
        assert not any(value.startswith(FORMULA) for value in row)
        assert row[0] in (name, f"'{name}")
        assert row[1] == f"'={text}x"
        assert json.loads(row[header.index("tags")]) == {"=a": text}
    assert data.count('"') % 2 == 0


def test_numbers_and_nothing_are_as_they_are() -> None:
    assert [cell(value) for value in (-1.5, 3, True, None, "", ("a",))] == [
        "-1.5", "3", "true", "", "", '["a"]',
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["demonstrations", "ratings", "rankings", "prompts"])
def test_an_export_for_spreadsheets_is_a_dataset_too(project, kind: str) -> None:
    store = project.open_store()
    fill(store, 4)
    store.set_intake(map(_in_train, list(store.prompts())), [])
    export(ExportConfig(kind=kind, project=project.folder))
    said = export(ExportConfig(kind=kind, project=project.folder, format="csv"))
    path = project.datasets / f"{kind}-training.csv"
    assert said.startswith(f"{path}: 4 {kind}, dataset ds-")
    assert len(_rows(path)) == 5
    if kind == "ratings":
        assert _rows(path)[1][_rows(path)[0].index("note")] == "'=1+1"
        ratings = read_records(project.datasets / f"{kind}-training.jsonl", Rating)
        assert {rating.note for rating in ratings} == {"=1+1"}  # what trainers read is as it was
    forget(ForgetConfig(user="u1", project=project.folder))
    assert len(_rows(path)) == 4
    assert "the store is sound" in check(project)


def _in_train(prompt: Prompt) -> Prompt:
    return Prompt(id=prompt.id, prompt=prompt.prompt, user_id=prompt.user_id, split="train")


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file, strict=True))


def test_the_suffix_and_the_format_agree(project, capsys) -> None:
    at = ["--project", str(project.folder)]
    assert main(["export", "ratings", "--out", "x.csv", *at]) == 2
    assert "x.csv must end in .jsonl (--format jsonl)" in capsys.readouterr().err
    assert main(["export", "ratings", "--format", "xlsx", *at]) == 2
