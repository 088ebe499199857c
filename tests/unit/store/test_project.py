"""A project from `understudy new` on, through the command line."""

import json
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import inspect
from tests.stores import LABELERS, answer, database, fill, labels_of

from understudy.cli import main
from understudy.commands.store import UpgradeConfig, upgrade_store
from understudy.records import Prompt, write_records
from understudy.store.engine import make_engine, reading, writing
from understudy.store.migrate import newest_version, upgrade
from understudy.store.project import open_project
from understudy.store.prompts.log import Event, PromptLog
from understudy.store.repository import Store

RELEASED = Path(__file__).parent / "released"


def run(capsys, *arguments: object) -> str:
    """A command's output; it must succeed."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def test_the_whole_way_through_the_command_line(backend: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "project"
    url = "sqlite:///store.sqlite"
    if backend == "postgresql":
        url = database(backend, tmp_path, migrated=False)
    run(capsys, "new", folder, "--store", url)
    at = ("--project", folder)
    assert (folder / "project.toml").stat().st_mode & 0o777 == 0o600
    assert "consent given" in run(capsys, "users", "add", "ann", "--consent", *at)
    key = run(capsys, "users", "key", "ann", *at).strip()
    name = key.split("-")[1]
    assert name in run(capsys, "users", "list", *at)
    run(capsys, "users", "revoke", name, *at)
    assert "revoked" in run(capsys, "users", "list", *at)
    prompts = [Prompt(id=f"p{i}", prompt=f"Question {i}?", user_id=f"u{i}") for i in range(30)]
    data = write_records(tmp_path / "prompts.jsonl", prompts)
    assert "30 new" in run(capsys, "prompts", "add", "--data", data, *at)
    assert "Table 1" in run(capsys, "prompts", "build", *at)
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Be helpful.")
    run(capsys, "labels", "rubric", "v1", "--instructions", rubric, "--priorities", "helpful", *at)
    labels = [label for p in prompts for label in labels_of(p, LABELERS[0])]
    files = {
        "labelers": LABELERS,
        "responses": [answer(p, k) for p in prompts for k in range(2)],
        "demonstrations": labels[0::3],
        "ratings": labels[1::3],
        "rankings": labels[2::3],
    }
    options = []
    for kind, records in files.items():
        options += [f"--{kind}", write_records(tmp_path / f"{kind}.jsonl", records)]
    assert "rankings: 30 new, 0 known" in run(capsys, "labels", "add", *options, *at)
    said = run(capsys, "export", "rankings", "--split", "train", *at)
    (path,) = (folder / "datasets").glob("*.jsonl")
    assert str(path) in said
    splits = {json.loads(line)["split"] for line in path.read_text().splitlines()}
    assert splits == {"train"}
    assert "the store is sound" in run(capsys, "store", "check", *at)
    assert "1 prompt" in run(capsys, "users", "forget", "u3", *at)
    assert f"-> {newest_version()}" in run(capsys, "store", "upgrade", *at)
    assert main(["new", str(folder)]) == 2
    assert "exists; choose another folder" in capsys.readouterr().err


def test_nobody_else_can_read_any_file(backend: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "deep" / "project"
    place = "sqlite:///store.sqlite" if backend == "sqlite" else database(backend, tmp_path, False)
    before = os.umask(0o022)
    try:
        run(capsys, "new", folder, "--store", place)
        at = ["--project", folder]
        project = open_project(folder)
        store = project.open_store()
        fill(store)
        run(capsys, "prompts", "build", *at)
        run(capsys, "export", "ratings", *at)
        run(capsys, "export", "ratings", "--format", "csv", *at)
        log = PromptLog(project.log)
        log.append([Event("prompt", "r", "ann", "2026", {"prompts": ["x"]})])
        with reading(store.engine):  # so that there is a write-ahead log
            run(capsys, "store", "backup", folder / "copy", *at)
            found = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
        log.close()
        store.engine.dispose()
    finally:
        os.umask(before)
    assert {path.name for path in found} >= {
        "project.toml", "log.sqlite", "log.sqlite-wal", "copy", "copy.log", "backups.jsonl",
        "intake.report.json", "ratings-training.jsonl", "ratings-training.csv", "datasets", "runs",
    }  # fmt: skip
    assert backend != "sqlite" or (folder / "store.sqlite") in found
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path, mode in found.items():
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("place", ["sqlite://", "sqlite:///:memory:", "mysql://x", "what"])
def test_a_store_that_cannot_be_leaves_no_folder(tmp_path: Path, place: str, capsys) -> None:
    assert main(["new", str(tmp_path / "p"), "--store", place]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_a_split_key_that_was_in_use_can_be_kept(tmp_path: Path, capsys) -> None:
    key = 'our "old" key \\ \u00e9'
    run(capsys, "new", tmp_path / "project", "--split-key", key)
    assert open_project(tmp_path / "project").split_key == key
    assert main(["new", str(tmp_path / "other"), "--split-key", "a\nb"]) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('store = "sqlite:///s"', "key 'split_key' is missing"),
        ('store = "sqlite:///s"\nsplit_key = "k"\nsecret = 1', "key 'secret' is not known"),
        ("store = 3\nsplit_key = 'k'", "store is 3; it must be text"),
        ("store", "is not valid TOML"),
        (None, "has no project.toml"),
    ],
)
def test_what_can_be_wrong_with_a_project(tmp_path: Path, text: str | None, problem: str) -> None:
    if text is not None:
        (tmp_path / "project.toml").write_text(text)
    with pytest.raises(ValueError, match=problem):
        open_project(tmp_path)


def test_a_missing_or_damaged_store_is_said_in_a_line(tmp_path: Path, capsys) -> None:
    run(capsys, "new", tmp_path / "p")
    file = tmp_path / "p" / "store.sqlite"
    content = file.read_bytes()
    file.unlink()
    assert main(["users", "list", "--project", str(tmp_path / "p")]) == 2
    assert "does not exist; restore a backup" in capsys.readouterr().err
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(4096) + content[half + 4096 :])
    assert main(["store", "check", "--project", str(tmp_path / "p")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_log_and_a_file_for_a_folder_are_said_in_a_line(tmp_path: Path, capsys) -> None:
    run(capsys, "new", tmp_path / "p")
    (tmp_path / "p" / "log.sqlite").write_text("this is no log, whatever it is called")
    at = ["--project", str(tmp_path / "p")]
    for command in (["prompts", "add", "--log"], ["users", "forget", "ann"]):
        assert main([*command, *at]) == 1
        said = capsys.readouterr().err
        assert "log.sqlite cannot be used: file is not a database" in said
        assert said.count("\n") == 1
    assert main(["new", str(tmp_path / "p" / "log.sqlite")]) == 2
    assert "is a file; choose another folder" in capsys.readouterr().err


def count(connection, table: str) -> int:
    """Rows of a table."""
    return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()


@pytest.mark.parametrize("dump", sorted(RELEASED.glob("*.sql")), ids=lambda path: path.stem)
def test_every_released_schema_upgrades_with_its_data(dump: Path, tmp_path: Path) -> None:
    """`released/` has a dump of a filled store per schema that was released."""
    (tmp_path / "project.toml").write_text('store = "sqlite:///store.sqlite"\nsplit_key = "k"\n')
    engine = make_engine(f"sqlite:///{tmp_path / 'store.sqlite'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        statements = [one for one in dump.read_text().split(";--\n") if one.strip()]
        kinds = ("CREATE TABLE", "INSERT", "CREATE")  # tables first: they name one another
        order = [
            next(i for i, kind in enumerate(kinds) if one.startswith(kind)) for one in statements
        ]
        for _, statement in sorted(zip(order, statements, strict=True), key=lambda pair: pair[0]):
            connection.exec_driver_sql(statement)
    with reading(engine) as connection:
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
        before = {name: count(connection, name) for name in names}
    if dump.stem != newest_version():
        with pytest.raises(ValueError, match="understudy store upgrade"):
            open_project(tmp_path).open_store()
    assert upgrade_store(UpgradeConfig(project=tmp_path)).startswith(f"schema {dump.stem} -> ")
    store = Store(engine)
    upgrade(engine)
    assert [prompt.id for prompt in store.prompts()] == ["p0", "p1"]
    assert len(list(store.labels())) == 12
    with reading(engine) as connection:  # nothing was deleted with the table that was made anew
        after = {name: count(connection, name) for name in before}
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert after == before
    assert open_project(tmp_path).open_store().users()[0].id == "u0"
