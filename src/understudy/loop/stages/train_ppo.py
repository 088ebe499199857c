"""The stages of step 3: PPO and PPO-ptx."""

from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import optional, run_fields
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo


def ppo(call: StageCall) -> None:
    """A policy optimised against the reward model, in run/model; with text, PPO-ptx."""
    config = PPOConfig(
        model=str(call.path("model")),
        reward_model=call.path("reward_model"),
        prompts=call.path("prompts"),
        reward_ensemble=call.paths("ensemble"),
        judge=optional(call, "judge"),
        pretrain_data=optional(call, "text"),
        eval_prompts=call.path("eval_prompts") if call.config.get("eval_every") else None,
        **run_fields(call),
    )
    call.follow("run/metrics.jsonl", config.num_iterations, "ppo/score")
    train_ppo(config)
    (config.out / "samples.jsonl").touch()  # empty if nothing was measured during training
