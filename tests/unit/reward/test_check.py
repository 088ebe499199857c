"""`understudy reward-check` on rankings whose truth is known."""

import json
from dataclasses import replace

import pytest
import torch
from tests.fixtures_data import write_rankings
from tests.fixtures_models import make_policy, make_tokenizer
from tests.fixtures_ppo import TARGET, counting_reward_model, word_tokenizer

from understudy.cli import main
from understudy.models.scalar import ScalarModel
from understudy.records import Ranking, read_records, write_records
from understudy.reward.check import reward_check
from understudy.reward.check_config import RewardCheckConfig


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A reward model that likes w7, and rankings by people who do; the longer answer loses."""
    folder = tmp_path_factory.mktemp("counting")
    counting_reward_model().save(folder / "model", word_tokenizer())
    pairs = [(f"w{TARGET} w4", "w5 w6 w8"), (f"w5 w{TARGET}", "w5 w4 w9")] * 12
    rows = [
        Ranking.from_json(
            {"prompt": f"w4 w{5 + i % 4}", "responses": [good, bad], "tiers": [[0], [1]]}
            | {"id": f"r{i}", "labeler_id": f"l{i % 2}", "labeler_role": "held_out"}
        )
        for i, (good, bad) in enumerate(pairs)
    ]
    write_records(folder / "rankings.jsonl", rows)
    return folder


def test_a_model_that_likes_what_the_labelers_like(counting, tmp_path):
    out = tmp_path / "check.json"
    config = RewardCheckConfig(
        model=counting / "model",
        data=counting / "rankings.jsonl",
        out=out,
        length_rule="longer",
    )
    text = reward_check(config)
    assert "24 rankings, 24 pairs" in text
    assert "accuracy       100.0" in text
    assert "above chance" in text
    assert "length rule    0.0" in text
    assert "the longer wins, as asked" in text
    assert "above the rule +100.0" in text
    assert "a token, between responses to one prompt" in text
    found = json.loads(out.read_text())
    assert found["above_length"]["rate"] == 1.0
    assert found["score_per_token"] < 0  # the longer response of half of the pairs loses
    assert found["accuracy"]["num_prompts"] == 4
    assert set(found["accuracy_by_labeler"]) == {"l0", "l1"}
    assert sum(found["calibration"]["count"]) == 24
    with pytest.raises(ValueError, match="exists; choose another"):
        reward_check(config)


def test_the_length_rule_comes_from_training_where_that_is_known(counting, tmp_path):
    config = RewardCheckConfig(model=counting / "model", data=counting / "rankings.jsonl")
    text = reward_check(config)
    assert "the shorter wins, fitted to these pairs" in text
    assert "not distinguishable from the rule" in text
    (counting / "results.json").write_text(json.dumps({"longer_wins": True}))
    assert "the longer wins, as in the training pairs" in reward_check(config)
    (counting / "results.json").unlink()


def test_labelers_who_want_the_opposite_are_seen(counting, tmp_path):
    rows = read_records(counting / "rankings.jsonl", Ranking)
    path = write_records(
        tmp_path / "r.jsonl",
        [replace(r, tiers=r.tiers[::-1]) if r.labeler_id == "l1" else r for r in rows * 2],
    )
    text = reward_check(RewardCheckConfig(model=counting / "model", data=path))
    assert "labeler l0: 100.0" in text
    assert "labeler l1: 0.0" in text
    assert "accuracy       50.0" in text
    assert "not distinguishable from chance" in text


def test_batches_change_nothing(tmp_path):
    ScalarModel.from_policy(make_policy()).save(tmp_path / "model", make_tokenizer())
    data = write_rankings(tmp_path / "r.jsonl", 8)
    config = RewardCheckConfig(model=tmp_path / "model", data=data)
    with torch.no_grad():
        assert reward_check(config) == reward_check(replace(config, micro_batch_tokens=32))


def test_a_policy_is_no_reward_model(counting, tmp_path, capsys):
    make_policy().model.save_pretrained(tmp_path / "policy")
    make_tokenizer().save_pretrained(tmp_path / "policy")
    words = ["reward-check", "--data", str(counting / "rankings.jsonl")]
    assert main([*words, "--model", str(tmp_path / "policy")]) == 2
    assert "is not a reward model" in capsys.readouterr().err
    assert main([*words, "--model", str(counting / "model"), "--length-rule", "x"]) == 2
    assert "must be one of" in capsys.readouterr().err


def test_accuracy_by_group_leaves_small_groups_out(counting, tmp_path):
    """Five nurses like w7 as the model does, on any prompt; five others dislike it on the nurses'
    prompts; of the two clerks nothing is shown."""
    teams = {"nurses": 5, "others": 5, "clerks": 2}
    people, rows = [], []
    for group, size in teams.items():
        for number in range(size):
            name = f"{group}-{number}"
            people.append({"id": name, "role": "held_out", "group": group})
            for concerned in ("nurses", None):
                dislikes = group == "others" and concerned is not None
                row = {"prompt": f"w4 w{5 + number % 4}", "responses": [f"w{TARGET} w4", "w5 w6"]}
                row |= {"tiers": [[1], [0]] if dislikes else [[0], [1]], "labeler_id": name}
                rows.append(row | {"labeler_role": "held_out", "group": concerned})
    for name, table in (("people", people), ("rows", rows)):
        text = "".join(json.dumps(one) + "\n" for one in table)
        (tmp_path / f"{name}.jsonl").write_text(text)
    config = RewardCheckConfig(
        model=counting / "model",
        data=tmp_path / "rows.jsonl",
        labelers=tmp_path / "people.jsonl",
        out=tmp_path / "check.json",
    )
    text = reward_check(config)
    found = json.loads((tmp_path / "check.json").read_text())["accuracy_by_group"]
    rates = {
        (one["labelers"], one["prompts"]): one["accuracy"] and one["accuracy"]["rate"]
        for one in found
    }
    assert rates == {
        ("nurses", "nurses"): 1.0,
        ("nurses", None): 1.0,
        ("others", "nurses"): 0.0,
        ("others", None): 1.0,
        ("clerks", "nurses"): None,
        ("clerks", None): None,
    }
    assert "labelers of others on prompts of nurses: 0.0 (" in text
    assert "labelers of clerks on prompts of no group: not shown, fewer than five labelers" in text
