"""Margins, labeler weights and ensembles, from a file of rankings to the saved model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import make_tokenizer, save_model_folder

from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel, load_scalar
from understudy.records import Ranking, RecordError, read_records
from understudy.reward.config import RewardConfig
from understudy.reward.ensemble import agreement
from understudy.reward.run import train_reward
from understudy.reward.train import backward_batch
from understudy.training.rankings import encode_rankings
from understudy.training.run import read_lines
from understudy.training.weights import read_weights


@pytest.fixture
def config(tmp_path):
    return RewardConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_rankings(tmp_path / "rankings.jsonl", 12),
        valid_data=write_rankings(tmp_path / "valid.jsonl", 8, seed=1),
        out=tmp_path / "run",
        lr=3e-3,
        batch_size=4,
    )


def encode(rows, **options):
    limits = dict(max_prompt_tokens=99, max_response_tokens=99, context=None, where="x")
    return encode_rankings(make_tokenizer(), rows, **limits, **options).rows


def test_margins_are_differences_of_scores_or_else_of_tiers(tmp_path):
    row = dict(prompt="x", responses=["a", "b", "c"], labeler_id="l")
    shapes = [
        row | dict(scores=[1, 4.5, 1]),
        row | dict(tiers=[[1], [0], [2]]),
        dict(prompt="x", chosen="a", rejected="b", margin=2),
    ]
    path = tmp_path / "shapes.jsonl"
    path.write_text("".join(json.dumps(shape) + "\n" for shape in shapes))
    by_score, by_tier, by_pair = read_records(path, Ranking)
    rows = encode([by_score, by_tier, by_pair])
    assert rows[0].pairs == [(1, 0), (1, 2)]
    assert [row.margins for row in rows] == [[3.5, 3.5], [1, 2, 1], [2]]
    assert Ranking.from_json(by_score.to_json()) == by_score
    with pytest.raises(RecordError, match="'scores' has 2 numbers for 3 responses"):
        Ranking.from_json(row | dict(tiers=[[1], [0], [2]], scores=[1, 2]))


def test_a_margin_pushes_scores_further_apart(config, tmp_path):
    leads = []
    for margin in (0.0, 4.0):
        out = train_reward(replace(config, out=tmp_path / str(margin), margin=margin, epochs=2))
        leads.append(read_lines(out / "metrics.jsonl")[-1]["reward/margin"])
    assert leads[1] > leads[0] > 0


def test_a_labelers_weight_counts_as_copies_of_their_rankings(config, tmp_path):
    rankings = read_records(config.data, Ranking)
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"training-0": 2}))
    weighted = encode(rankings, weight_of=read_weights(path, None, rankings))
    doubled = encode([r for r in rankings for _ in range(1 + (r.labeler_id == "training-0"))])
    grads = []
    for rows in (weighted, doubled):
        model = ScalarModel.from_policy(load_policy(config.model)[0], seed=0)
        backward_batch(model, rows, 1, 64)
        grads.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"training-0": 0}', "must be a number above 0"),
        ('{"nobody": 1}', "no ranking is by labeler 'nobody'"),
        ("[1]", "must be a JSON object"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_weights_that_are_none(config, tmp_path, content, message):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        train_reward(replace(config, labeler_weights=tmp_path / "w.json"))


def test_an_ensemble_has_members_of_its_own(config):
    demonstrations = write_demonstrations(config.out.parent / "demos.jsonl")
    out = train_reward(replace(config, ensemble=3, demonstrations=demonstrations))
    found = json.loads((out / "results.json").read_text())["ensemble"]
    assert len(found["models"]) == len(found["accuracy_of_members"]) == 3
    heads = [load_scalar(folder)[0].head.weight for folder in found["models"]]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    assert found["accuracy_of_mean_score"]["n"] > 0
    assert found["spread_of_difference"] > 0


def test_agreement_by_hand():
    better = np.array([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    worse = np.array([[0.0, 0.0, 1.0], [0.0, 3.0, 2.0]])
    found = agreement(better, worse, ["a", "b", "c"])
    assert found["accuracy_of_members"] == [2 / 3, 1 / 3]
    assert found["accuracy_of_mean_score"]["rate"] == pytest.approx(1 / 3)
    assert found["share_unanimous"] == pytest.approx(2 / 3)
    assert found["accuracy_when_unanimous"]["rate"] == 0.5


def test_settings_that_make_no_sense(config):
    for changes in (dict(margin=-1.0), dict(ensemble=0)):
        with pytest.raises(ValueError, match=next(iter(changes))):
            replace(config, **changes)
