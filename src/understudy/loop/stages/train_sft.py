"""The stages of step 1: supervised fine-tuning."""

import math

from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import optional, run_fields
from understudy.records import Demonstration, read_records
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft


def sft(call: StageCall) -> None:
    """Demonstrations (and pretraining text) to a policy in run/model."""
    config = SFTConfig(
        model=str(call.path("model")),
        data=call.path("data"),
        valid_data=optional(call, "valid_data"),
        pretrain_data=optional(call, "text"),
        **run_fields(call),
    )
    rows = len(read_records(config.data, Demonstration))
    total = config.epochs * math.ceil(rows / config.batch_size)
    call.follow("run/metrics.jsonl", total, "sft/loss")
    train_sft(config)
