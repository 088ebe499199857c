"""Stages that train on people's rankings directly: DPO, KTO."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.kto.config import KTOConfig
from understudy.kto.train import train_kto
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import run_fields
from understudy.records import Ranking, read_records


def dpo(call: StageCall) -> None:
    """A policy by DPO, in run/model."""
    rows = len(read_records(call.path("rankings"), Ranking))
    _train(call, DPOConfig, train_dpo, rows, "dpo/accuracy")


def kto(call: StageCall) -> None:
    """A policy by KTO, from the best and the worst responses, in run/model."""
    tiers = [ranking.tiers for ranking in read_records(call.path("rankings"), Ranking)]
    rows = sum(len(each[0]) + len(each[-1]) for each in tiers if len(each) > 1)
    _train(call, KTOConfig, train_kto, rows, "kto/margin")


def _train(call: StageCall, kind: Any, train: Callable[[Any], Path], rows: int, shown: str) -> None:
    config = kind(
        model=str(call.path("model")),
        data=call.path("rankings"),
        valid_data=call.path("valid"),
        **run_fields(call),
    )
    num_steps = -(-rows // config.batch_size) * config.epochs
    call.follow("run/metrics.jsonl", num_steps, shown)
    train(config)
