"""PPO, RLOO, GRPO and RAFT as commands: with `judge_url`, a language model ends the run in time.

    understudy ppo ... --eval-prompts held_out.jsonl --eval-every 10 \
        --judge-url http://127.0.0.1:8001/v1 --judge-model NAME
"""

from pathlib import Path

from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.raft.config import RAFTConfig
from understudy.raft.train import train_raft
from understudy.rl.settings import RolloutSettings
from understudy.rl.stopping import Judge
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo


def ppo(config: PPOConfig) -> Path:
    """`train_ppo` with the judge of the settings."""
    return train_ppo(config, judge_of(config))


def rloo(config: RLOOConfig) -> Path:
    """`train_rloo` with the judge of the settings."""
    return train_rloo(config, judge_of(config))


def grpo(config: GRPOConfig) -> Path:
    """`train_grpo` with the judge of the settings."""
    return train_grpo(config, judge_of(config))


def raft(config: RAFTConfig) -> Path:
    """`train_raft` with the judge of the settings."""
    return train_raft(config, judge_of(config))


def judge_of(config: RolloutSettings) -> Judge | None:
    """The language model at `judge_url`, which has answered one question; None without a URL.
    ValueError if it gives no verdict, ConnectionError if it cannot be reached."""
    if config.judge_url is None or config.judge_model is None:
        return None
    from understudy.loop.model_as_judge import ModelJudge  # needs the extra `serve`

    judge = ModelJudge(config.judge_url, config.judge_model, config.out / "judge.jsonl")
    if judge.asks:
        judge.check()
    return judge
