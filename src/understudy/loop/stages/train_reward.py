"""The stage of step 2: the reward model."""

import math

from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import optional, run_fields
from understudy.records import Ranking, read_records
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward


def reward(call: StageCall) -> None:
    """Rankings to a reward model in run/model."""
    config = RewardConfig(
        model=str(call.path("model")),
        data=call.path("data"),
        valid_data=optional(call, "valid_data"),
        demonstrations=optional(call, "demonstrations"),
        labeler_weights=optional(call, "weights"),
        group_weights=optional(call, "group_weights"),
        **run_fields(call),
    )
    rows = len(read_records(config.data, Ranking))
    total = config.epochs * math.ceil(rows / config.batch_size)
    call.follow("run/metrics.jsonl", total, "reward/accuracy")
    train_reward(config)
