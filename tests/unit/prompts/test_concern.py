"""Whom prompts concern: a labeler's tag, then the rules, then a model."""

import json

import pytest
from tests.unit.prompts.test_ask_use_case import model, prompt

from understudy.cli import main
from understudy.prompts import IntakeConfig, build_prompts
from understudy.prompts.concern import named, read_rules
from understudy.records import Prompt, read_records, write_records

RULES = {"nurses": ["nurse", r"\bward\b"], "Extract people": ["my (son|daughter)"]}


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULES))
    return path


def test_the_tag_then_the_first_rule_that_matches(rules):
    given = [
        prompt(0, "Describe a NURSE and my son."),
        prompt(1, "Write to my daughter about rewards."),
        prompt(2, "What is a ward of the state?", tags={"group": "lawyers"}),
        prompt(3, "Name a prime."),
    ]
    kept, report = build_prompts(given, IntakeConfig(group_rules=rules))
    assert [one.group for one in kept] == ["nurses", "Extract people", "lawyers", None]
    assert kept[3].tags == {}
    assert report.groups == {"nurses": 1, "Extract people": 1, "lawyers": 1}
    assert "lawyers                 1      25.0%" in report.table()


def test_a_model_is_asked_where_no_rule_matches(rules):
    """The server says "Extract." of plums; of the others, no group's name."""
    rules.write_text(json.dumps({"nurses": ["nurse"], "extract": ["daughter"]}))
    given = [prompt(0, "A plum for a nurse."), prompt(1, "A plum."), prompt(2, "An oak.")]
    with model() as (url, seen):
        config = IntakeConfig(group_rules=rules, use_case_url=url, ask_groups=True)
        kept, _ = build_prompts(given, config)
    assert [one.group for one in kept] == ["nurses", "extract", None]
    about_groups = [a["messages"][0]["content"] for _, a in seen if "nobody" in str(a)]
    assert len(about_groups) == 2
    assert all("nurses\nextract\n" in text for text in about_groups)
    for more in ({"group_rules": rules}, {"use_case_url": "http://x"}):
        with pytest.raises(ValueError, match="--ask-groups needs"):
            IntakeConfig(ask_groups=True, **more)


def test_only_known_names_count(rules):
    found = read_rules(rules)
    assert named("Nurses.", found) == "nurses"
    assert named("extract PEOPLE, or nurses", found) == "Extract people"
    assert named("Nobody; nurses perhaps", found) is None
    assert named("the nursesmaids", found) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be a JSON object such as"),
        ('{"nurses": []}', "group 'nurses' needs a list of regular expressions"),
        ('{"nurses": [3]}', "group 'nurses' needs a list of regular expressions"),
        ('{"nurses": ["("]}', "group 'nurses': missing .*unterminated subpattern"),
        ('{"nobody": ["x"]}', "'nobody' cannot be the name of a group"),
    ],
)
def test_rules_that_are_refused_before_any_work(tmp_path, capsys, content, message):
    (tmp_path / "rules.json").write_text(content)
    write_records(tmp_path / "raw.jsonl", [prompt(0, "Name a prime.")])
    arguments = ["--data", tmp_path / "raw.jsonl", "--out", tmp_path / "p.jsonl"]
    arguments += ["--group-rules", tmp_path / "rules.json"]
    assert main(["prompts", "build", *map(str, arguments)]) != 0
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    with pytest.raises(ValueError, match=message):
        read_rules(tmp_path / "rules.json")
    assert not (tmp_path / "p.jsonl").exists()


def test_the_command_writes_the_tag(rules, tmp_path):
    write_records(tmp_path / "raw.jsonl", [prompt(0, "Ask a nurse.")])
    arguments = ["--data", tmp_path / "raw.jsonl", "--out", tmp_path / "p.jsonl"]
    assert main(["prompts", "build", *map(str, [*arguments, "--group-rules", rules])]) == 0
    assert [one.tags["group"] for one in read_records(tmp_path / "p.jsonl", Prompt)] == ["nurses"]
