"""Win rates at the users' shares, from the files to the report."""

import json
from dataclasses import replace

import pytest
from tests.fixtures_models import save_model_folder
from tests.unit.evaluation.helpers import LengthJudge, answer, prompt

from understudy.evaluation.config import EvaluateConfig
from understudy.evaluation.run import evaluate
from understudy.evaluation.strata import read_strata, stratum
from understudy.records import Prompt, write_records

PROMPTS = [
    *(replace(prompt(f"c{i}"), use_case="chat") for i in range(4)),
    *(replace(prompt(f"l{i}"), use_case="list") for i in range(2)),
    replace(prompt("x"), use_case="story"),
]


def test_shares_are_of_users_however_many_prompts_each_sends(tmp_path):
    """By hand: u1 chats in 3 of 4 prompts, u2 only lists: 3/8 and 5/8."""
    sent = [("u1", "chat")] * 3 + [("u1", "list")] + [("u2", "list")] * 20
    rows = [
        Prompt(id=f"p{i}", prompt="x", user_id=user, use_case=case)
        for i, (user, case) in enumerate(sent)
    ]
    path = write_records(tmp_path / "users.jsonl", rows)
    found = read_strata("use_case", path, PROMPTS)
    assert found.shares == pytest.approx({"chat": 3 / 8, "list": 5 / 8})
    assert found.missing == {}
    assert found.num_left_out == 1  # the story


def test_an_organization_a_tag_or_none():
    one = replace(prompt("p", group="nurses", harmful=False), organization_id="o1")
    assert stratum(one, "organization") == "o1"
    assert stratum(one, "group") == "nurses"
    assert stratum(one, "harmful") == "false"
    assert stratum(one, "use_case") == stratum(one, "kind") == "none"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"chat": -1}', "share of chat is -1; it must be a number of 0 or more"),
        ('{"chat": 0.2, "list": 0.3}', "the shares sum to 0.5; they must sum to 1 or 100"),
        ('{"chat": "half"}', "share of chat is 'half'"),
        ('{"chat": 0}', "has no share above 0"),
        ('{"poem": 1}', "prompts' are chat, list, story, the file's poem"),
    ],
)
def test_shares_that_are_refused(tmp_path, content, message):
    (tmp_path / "shares.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_strata("use_case", tmp_path / "shares.json", PROMPTS)


def test_a_missing_file_of_shares_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json cannot be read: No such file"):
        read_strata("use_case", tmp_path / "no.json", PROMPTS)


def test_an_evaluation_at_the_users_shares(tmp_path):
    """PPO's response is longer, so better, on half of the chats, on every list and on the story. At
    shares of 1 chat to 1 list it wins 75%; poems have a share and no prompt, stories no share."""
    save_model_folder(tmp_path / "model")
    write_records(tmp_path / "prompts.jsonl", PROMPTS)
    lengths = [("c0", 2), ("c1", 2), ("c2", 9), ("c3", 9), ("l0", 9), ("l1", 9), ("x", 9)]
    of = dict(lengths)
    responses = [answer(p, "sft", "four") for p in PROMPTS]
    responses += [answer(p, "ppo", "x" * of[p.id]) for p in PROMPTS]
    write_records(tmp_path / "responses.jsonl", responses)
    (tmp_path / "shares.json").write_text('{"chat": 40, "list": 40, "poem": 20}')
    config = EvaluateConfig(
        models=(f"sft={tmp_path / 'model'}", f"ppo={tmp_path / 'model'}"),
        prompts=tmp_path / "prompts.jsonl",
        responses=tmp_path / "responses.jsonl",
        strata="use_case",
        shares=tmp_path / "shares.json",
        out=tmp_path / "out",
    )
    folder = evaluate(config, gold=LengthJudge())
    results = json.loads((folder / "results.json").read_text())
    found = results["win_rates_vs_sft_gold"]["ppo"]
    assert found["rate"] == pytest.approx(5 / 7)
    assert found["by_shares"]["rate"] == 0.75
    assert found["by_shares"]["n"] == 6
    assert 0 < found["by_shares"]["low"] < 0.75 < found["by_shares"]["high"] < 1
    assert results["strata"]["missing"] == {"poem": 0.2}
    assert results["strata"]["num_left_out"] == 1
    report = (folder / "report.html").read_text()
    assert "20% of the users&#x27; share belongs to strata without prompts here (poem)" in report
    assert "1 prompts have no share among the users" in report
    assert "at the users&#x27; shares 75%" in report
