"""Users, labelers and instructions on the command line: what is said, kept and refused."""

import pytest
from tests.stores import make_project
from tests.unit.labeling.project import Careful
from tests.unit.trust.people import prompt, responses

from understudy.cli import main
from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.collect import collect_rankings
from understudy.records import Ranking, read_records
from understudy.store.accounts.people import NewAccount, all_accounts, invite
from understudy.store.rubrics import rubric_of


@pytest.fixture
def project(tmp_path):
    return make_project("sqlite", tmp_path / "project")


@pytest.fixture
def run(project, capsys):
    """Run a command in the project: (exit code, what it said)."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main([*arguments, "--project", str(project.folder)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_an_organisation_stays_and_a_consent_that_ends_is_said(run):
    assert run("users", "add", "ann", "--consent", "--organization", "acme")[0] == 0
    assert run("users", "add", "ann", "--consent")[1] == "ann (acme): consent given\n"
    code, said = run("users", "add", "ann", "--organization", "beta")
    assert code == 0
    assert said.startswith("ann (beta): consent not given: it was given and is withdrawn now")
    assert run("users", "add", "ann", "--organization", "")[1] == "ann: consent not given\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["users", "add", " ann "], "leave out white space around it"),
        (["users", "add", "a\nb"], "leave out white space around it"),
        (["users", "key", "ann", "--expires", "2020-01-01T00:00Z"], "which is over"),
        (["labelers", "invite", "Ann", "--days", "1e12"], "at most 36500"),
        (["labelers", "reset", "Ann", "--days", "1e9"], "at most 36500"),
        (["labelers", "invite", "Ann", "--address", "labels.example"], "must begin with http"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(run, arguments, why):
    code, said = run(*arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert why in said


def test_instructions_have_a_text_a_name_and_an_order(run, project, tmp_path):
    file, empty = tmp_path / "rubric.txt", tmp_path / "empty.txt"
    file.write_bytes("\ufeff# Be kind\r\n".encode())
    empty.write_text("\n")
    for version, path, order, why in (
        ("v1", empty, ["helpful"], "the instructions are empty"),
        ("", file, ["helpful"], "use 1 to 40 letters"),
        ("v2 (May)", file, ["helpful"], "use 1 to 40 letters"),
        ("v1", file, ["helpful", "helpful"], "must be different"),
        ("v1", file, ["helpful,truthful"], "give each priority by itself"),
    ):
        code, said = run(
            "labels", "rubric", version, "--instructions", str(path), "--priorities", *order
        )
        assert code == 2
        assert why in said
    code, _ = run("labels", "rubric", "v1", "--instructions", str(file), "--priorities", "helpful")
    assert code == 0
    assert rubric_of(project.open_store(), "v1")["instructions"] == "# Be kind\n"


def test_people_are_called_by_their_names(run, project, tmp_path):
    store, now = project.open_store(), stamp(utc_now())
    asked = [prompt(i) for i in range(6)]
    store.add_prompts(asked)
    store.set_intake(asked, [])
    store.add_responses(responses(asked))
    for name in ("Jos\u00e9 Ruiz", "Ben"):
        invite(store, NewAccount(name=name, role="training"), by=None, at=now, expires_at=now)
    people = [Careful(row["id"]) for row in all_accounts(store)]
    store.add_labels(
        collect_rankings(people, asked, responses(asked), overlap=1.0, seed=0, labels_per_overlap=2)
    )
    code, said = run("labels", "agreement")
    assert code == 0
    assert "Jos\u00e9 Ruiz" in said
    assert "lab-" not in said
    code, said = run("labels", "weights", str(tmp_path / "weights.json"))
    assert (code, "Ben" in said, "lab-" in said) == (0, True, False)
    out = tmp_path / "of-one.jsonl"
    code, said = run("export", "rankings", "--labelers", "jose\u0301 ruiz", "--out", str(out))
    assert code == 0
    mine = next(row["id"] for row in all_accounts(store) if row["name"] != "Ben")
    assert {one.labeler_id for one in read_records(out, Ranking)} == {mine}
    assert "understudy reward" in said
    everybody = ["--purpose", "evaluation", "--out", str(tmp_path / "all.jsonl")]
    assert "next:" not in run("export", "rankings", *everybody)[1], "nothing trains on these"
    assert "next:" not in run("export", "rankings", "--format", "csv")[1]
