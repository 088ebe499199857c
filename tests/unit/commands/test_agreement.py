"""Agreement and weights on the command line, from files and from a project."""

import json
import stat
from dataclasses import replace

import pytest
from tests.stores import make_project
from tests.unit.labeling.project import Careful
from tests.unit.trust.people import Person, prompt, responses

from understudy.cli import main
from understudy.labeling.collect import collect_rankings
from understudy.records import LabelerInfo, write_records
from understudy.store.accounts.descriptions import describe_oneself
from understudy.store.engine import writing
from understudy.store.labeling_tables import accounts

PROMPTS = [prompt(i) for i in range(40)]
CAREFUL = [Careful("ann"), Careful("ben", mistakes=0.1)]
PEOPLE = [Person("ann"), Person("ben", mistakes=0.1), Person("cat", mistakes=0.9)]


@pytest.fixture
def files(tmp_path):
    made = responses(PROMPTS)
    rankings = collect_rankings(PEOPLE, PROMPTS, made, overlap=1.0, seed=0)
    ratings = [
        Careful.rate(who, p, r) for who in CAREFUL for p in PROMPTS[:9] for r in responses([p])
    ]
    write_records(tmp_path / "rankings.jsonl", rankings)
    write_records(tmp_path / "ratings.jsonl", ratings)
    return tmp_path


def test_agreement_of_files(files, capsys):
    options = [
        "--rankings",
        str(files / "rankings.jsonl"),
        "--ratings",
        str(files / "ratings.jsonl"),
    ]
    assert main(["labels", "agreement", *options]) == 0
    table = capsys.readouterr().out
    lines = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert {"Training", "ann", "ben", "cat"} <= set(lines)
    assert "undefined" not in lines["ann"]
    assert "%" in lines["Training"]
    assert "nan" not in table


def test_careless_labelers_are_named_below_the_table(tmp_path, capsys):
    good = [Person(f"l{number}", mistakes=0.2) for number in range(6)]
    prompts, file = [prompt(i) for i in range(120)], tmp_path / "rankings.jsonl"
    for team, named in (([*good, Person("bad", mistakes=0.95)], ["bad"]), (good, [])):
        rankings = collect_rankings(team, prompts, responses(prompts), overlap=1.0, seed=0)
        write_records(file, rankings)
        assert main(["labels", "agreement", "--rankings", str(file)]) == 0
        shown = capsys.readouterr().out.splitlines()
        careless = [line.rpartition(": ")[2] for line in shown if "may be careless" in line]
        assert careless == named


def test_agreement_of_a_project_without_shared_labels(tmp_path, capsys):
    project = make_project("sqlite", tmp_path / "project")
    assert main(["labels", "agreement", "--project", str(project.folder)]) == 2
    assert "no labelers" in capsys.readouterr().err
    project.open_store().add_labelers([LabelerInfo(id="l1", role="training")])
    assert main(["labels", "agreement", "--project", str(project.folder)]) == 0
    found = capsys.readouterr().out
    assert "undefined" in found
    assert "no two labelers answered the same" in found


def test_weights_of_files(files, capsys):
    out = files / "weights.json"
    options = ["--rankings", str(files / "rankings.jsonl")]
    assert main(["labels", "weights", str(out), *options]) == 0
    weights = json.loads(out.read_text())
    assert weights["ann"] > weights["ben"] > weights["cat"]
    assert sum(weights.values()) == pytest.approx(3, abs=0.1)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert capsys.readouterr().out.splitlines()[1].startswith("ann")
    assert main(["labels", "weights", str(out), *options]) == 2
    assert "exists" in capsys.readouterr().err


def test_weights_of_groups(tmp_path, capsys):
    project = make_project("sqlite", tmp_path / "project")
    store = project.open_store()
    people = [Careful(f"l{i:02}", mistakes=0.2) for i in range(12)]
    asked = [prompt(i) for i in range(20)]
    store.add_prompts(asked)
    store.set_intake(asked, [])
    store.add_responses(responses(asked))
    store.add_labelers(person.info for person in people)
    store.add_labels(collect_rankings(people, asked, responses(asked), overlap=1.0, seed=0))
    for place, person in enumerate(people):
        row = {
            "id": person.id, "name": person.id, "name_key": person.id, "owner": False,
            "role": "training", "stage": "active", "screen": False, "scores": "{}",
            "created_at": "2026-01-01",
        }  # fmt: skip
        with writing(store.engine) as connection:
            connection.execute(accounts.insert(), row)
        age = "18-24" if place < 5 else "25-34"
        describe_oneself(store, person.id, {"age": age}, "2026-01-01")
    where = ["--project", str(project.folder), "--field", "age"]
    plain, even = tmp_path / "plain.json", tmp_path / "even.json"
    assert main(["labels", "weights", str(plain), "--project", str(project.folder)]) == 0
    assert main(["labels", "weights", str(even), *where, "--shares", "18-24=1", "25-34=1"]) == 0
    before, after = (json.loads(path.read_text()) for path in (plain, even))
    assert after["l00"] / before["l00"] == pytest.approx(12 / 10, rel=0.01)
    assert after["l11"] / before["l11"] == pytest.approx(12 / 14, rel=0.01)
    capsys.readouterr()
    describe_oneself(store, "l00", {"age": "25-34"}, "2026-01-02")
    less = [str(tmp_path / "less.json"), *where, "--shares", "18-24=1", "25-34=1"]
    assert main(["labels", "weights", *less]) == 2
    assert "fewer than 5 labelers are '18-24'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["w.txt"], "must end in .json"),
        (["w.json", "--field", "shoes", "--shares", "9=1"], "must be one of"),
        (["w.json", "--field", "age"], "go together"),
        (
            ["w.json", "--field", "age", "--shares", "x=1", "--rankings", "r"],
            "no self-descriptions",
        ),
    ],
)
def test_settings_that_make_no_sense(options, why, capsys):
    assert main(["labels", "weights", *options]) == 2
    assert why in capsys.readouterr().err


def test_ratings_need_rankings(capsys):
    assert main(["labels", "agreement", "--ratings", "r.jsonl"]) == 2
    assert "needs --rankings" in capsys.readouterr().err


def test_agreement_within_and_between_groups_of_five(tmp_path, capsys):
    """The young rank the other way round; the one guest is of no group that is shown."""
    old = [Person(f"old{number}", mistakes=0.02) for number in range(5)]
    young = [Person(f"young{number}", mistakes=0.02) for number in range(5)]
    guest, prompts = Person("guest"), [prompt(i) for i in range(40)]
    team = [*old, *young, guest]
    made = responses(prompts)
    rankings = collect_rankings(team, prompts, made, overlap=1.0, seed=0, labels_per_overlap=4)
    rankings = [
        replace(one, tiers=one.tiers[::-1]) if one.labeler_id.startswith("young") else one
        for one in rankings
    ]
    write_records(tmp_path / "rankings.jsonl", rankings)
    groups = [*["old"] * 5, *["young"] * 5, "guests"]
    people = [replace(one.info, group=g) for one, g in zip(team, groups, strict=True)]
    write_records(tmp_path / "people.jsonl", people)
    files = ["--rankings", tmp_path / "rankings.jsonl", "--labelers", tmp_path / "people.jsonl"]
    assert main(["labels", "agreement", *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = lines[lines.index("by group") + 1 : lines.index("by labeler")]
    rate = {line.split("  ")[1]: float(line.split("%")[0].split()[-1]) for line in shown}
    assert list(rate) == ["old", "young", "old with young"]
    assert min(rate["old"], rate["young"]) > 90
    assert rate["old with young"] < 10
    assert main(["labels", "agreement", "--labelers", str(tmp_path / "people.jsonl")]) == 2
    assert "--labelers needs --rankings" in capsys.readouterr().err
