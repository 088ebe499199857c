"""The stage that trains on rankings directly."""

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import run_fields
from understudy.records import Ranking, read_records


def dpo(call: StageCall) -> None:
    """A policy by DPO, in run/model."""
    config = DPOConfig(
        model=str(call.path("model")),
        data=call.path("rankings"),
        valid_data=call.path("valid"),
        **run_fields(call),
    )
    rows = len(read_records(config.data, Ranking))
    num_steps = -(-rows // config.batch_size) * config.epochs
    call.follow("run/metrics.jsonl", num_steps, "dpo/accuracy")
    train_dpo(config)
