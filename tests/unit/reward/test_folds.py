import json
from dataclasses import replace

import pytest
from tests.fixtures_data import write_rankings
from tests.fixtures_models import save_model_folder

from understudy.records import Ranking, read_records
from understudy.reward.config import RewardConfig
from understudy.reward.folds import cross_validate, fold_files, labeler_groups
from understudy.reward.run import train_reward


def rankings(amounts):
    """Rankings by labelers a, b, ... of whom each ranks the first `amount` prompts."""
    return [
        Ranking(
            id=f"{labeler}{i}",
            prompt_id=f"p{i}",
            prompt=f"prompt {i}",
            responses=("x", "y"),
            tiers=((0,), (1,)),
            labeler_id=labeler,
        )
        for labeler, amount in amounts.items()
        for i in range(amount)
    ]


def test_groups_have_about_equal_data():
    rows = rankings({"a": 10, "b": 6, "c": 5, "d": 4, "e": 5})
    groups = labeler_groups(rows, 3, seed=0)
    assert set().union(*groups) == set("abcde")
    sizes = sorted(sum(row.labeler_id in group for row in rows) for group in groups)
    assert sizes == [10, 10, 10]
    with pytest.raises(ValueError, match="folds is 6 but the rankings come from 5 labelers"):
        labeler_groups(rows, 6, seed=0)


def test_a_fold_trains_on_neither_the_group_nor_the_prompts_it_is_measured_on(tmp_path):
    rows = rankings({"a": 10, "b": 10, "c": 10})
    train, valid = (read_records(p, Ranking) for p in fold_files(rows, {"b"}, tmp_path, seed=0))
    assert {row.labeler_id for row in train} == {"a", "c"}
    assert {row.prompt_id for row in train}.isdisjoint(row.prompt_id for row in valid)
    assert len({row.prompt_id for row in valid}) == 2  # a fifth of 10 prompts
    roles = {(row.labeler_id, row.labeler_role) for row in valid}
    assert roles == {("a", "training"), ("b", "held_out"), ("c", "training")}


def test_means_over_folds_by_hand(tmp_path):
    rates = iter([(0.8, 0.6), (0.7, 0.7), (0.6, None)])

    def train(data, valid, out):
        seen, unseen = next(rates)
        results = {"training_labelers": {"accuracy": {"rate": seen}}}
        if unseen is not None:
            results["held_out_labelers"] = {"accuracy": {"rate": unseen}}
        return results

    found = cross_validate(rankings({"a": 5, "b": 5, "c": 5}), 3, tmp_path, 0, train)
    seen, unseen = found["accuracy"]["seen"], found["accuracy"]["unseen"]
    assert seen["mean"] == pytest.approx(0.7)
    assert seen["standard_error"] == pytest.approx(0.1 / 3**0.5)
    assert (unseen["mean"], unseen["folds"]) == (pytest.approx(0.65), 2)


def test_folds_are_in_the_results(tmp_path):
    config = RewardConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_rankings(tmp_path / "rankings.jsonl", count=30),
        out=tmp_path / "run",
        lr=1e-3,
        batch_size=8,
        folds=3,
    )
    results = json.loads((train_reward(config) / "results.json").read_text())
    assert len(results["labeler_folds"]["folds"]) == 3
    assert 0 <= results["labeler_folds"]["accuracy"]["unseen"]["mean"] <= 1
    with pytest.raises(ValueError, match="folds is 1; it must be 0, or at least 2"):
        replace(config, folds=1)
    with pytest.raises(ValueError, match="folds do not take labeler_weights, since each"):
        replace(config, labeler_weights=tmp_path / "weights.json")
