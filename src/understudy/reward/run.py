"""Runs of the reward model: one model, an ensemble, cross-validation folds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.models.batching import derived_seed
from understudy.records.io import read_records
from understudy.records.schema import Ranking
from understudy.reward.config import RewardConfig
from understudy.reward.ensemble import measure_ensemble
from understudy.reward.folds import cross_validate
from understudy.reward.train import fit
from understudy.training.settings import prepare_trainer_run


def train_reward(config: RewardConfig) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop."""
    weights = ("labeler_weights", "group_weights")
    inputs = ("model", "data", "valid_data", "demonstrations", *weights)
    run = prepare_trainer_run("reward", config, inputs)
    if run.done:
        return run.dir
    results, rows = fit(run, config)
    if config.ensemble > 1:
        folders = _train_members(config)
        results["ensemble"] = measure_ensemble(folders, rows, config.micro_batch_tokens)
    if config.folds:
        results["labeler_folds"] = _cross_validate(config)
    run.finish(results)
    return run.dir


def _train_members(config: RewardConfig) -> list[Path]:
    """Train the other members; returns the model folders of all, this run's first."""
    folder = config.out / "ensemble"
    models = [config.out / "model"]
    for number in range(1, config.ensemble):
        out = folder / f"member-{number}"
        member = replace(
            config,
            out=out,
            seed=derived_seed(config.seed, "reward/ensemble", number) % 2**31,
            ensemble=1,
            folds=0,
            resume=(out / "run.json").exists(),
            overwrite=False,
        )
        models.append(train_reward(member) / "model")
    return models


def _cross_validate(config: RewardConfig) -> dict[str, Any]:
    """Train and measure each fold in its own run under out/folds."""

    def train(data: Path, valid_data: Path, out: Path) -> dict[str, Any]:
        fold = replace(
            config,
            data=data,
            valid_data=valid_data,
            out=out,
            demonstrations=None,
            ensemble=1,
            folds=0,
            resume=(out / "run.json").exists(),
            overwrite=False,
        )
        results = json.loads((train_reward(fold) / "results.json").read_text(encoding="utf-8"))
        return dict(results)

    rankings = read_records(config.data, Ranking)
    return cross_validate(rankings, config.folds, config.out / "folds", config.seed, train)
