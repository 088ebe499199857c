"""Settings of all trainers that sample from the policy and score with a reward model."""

from dataclasses import dataclass, fields
from pathlib import Path

from understudy.training.settings import TrainerSettings, check_address

ENSEMBLE_RULES = ("mean", "min", "uncertainty")


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSettings(TrainerSettings):
    """Settings of sampling, of scoring, and of the optimiser steps on episodes."""

    model: str
    """Folder or hub name of the policy to start from; a frozen copy is the KL reference (C.3)."""
    reward_model: Path
    """Reward model folder."""
    prompts: Path
    """Prompts of the training split, .jsonl or .parquet."""
    episodes: int = 256_000
    """Total number of episodes (C.4), rounded up to whole iterations."""
    batch_size: int = 512
    """Episodes per iteration (C.4)."""
    num_minibatches: int = 1
    """Optimiser steps per iteration and inner epoch."""
    inner_epochs: int = 1
    """Passes over an iteration's episodes (C.4)."""
    lr: float = 1e-6
    """Policy learning rate."""
    warmup_iterations: int = 10
    """Iterations over which rates rise from a tenth to their peak, then constant (C.4)."""
    beta: float = 0.02
    """KL coefficient (C.4)."""
    temperature: float = 1.0
    """Sampling temperature (C.4); logits are divided by it in rollout, reference and update."""
    missing_eos_score: float | None = -1.0
    """Score of a response that did not end (LHP, NP); none keeps the reward model's own."""
    length_coef: float = 0.0
    """Added to the score for each response token, unless `missing_eos_score` replaces the score;
    the negative of the slope that `reward-check` prints removes the reward model's preference for a
    length."""
    eval_prompts: Path | None = None
    """Held-out prompts; responses every `eval_every` iterations go to out/samples.jsonl."""
    eval_every: int = 0
    """Iterations between evaluations (also before the first and after the last); 0 for none."""
    judge: Path | None = None
    """A second reward model, ideally of another base model and other labelers, that compares the
    held-out responses of each evaluation with those of the first; the run ends when the win rate
    stops improving, and saves the best weights."""
    judge_url: str | None = None
    """Instead of `judge`: address of an OpenAI-compatible server, like http://127.0.0.1:8001/v1,
    whose model compares them in both orders; its key is in UNDERSTUDY_JUDGE_KEY."""
    judge_model: str | None = None
    """The judging model's name at `judge_url`."""
    judge_patience: int = 3
    """Evaluations in a row without a new best win rate by the judge, after which the run ends."""
    reward_ensemble: tuple[Path, ...] = ()
    """Further reward models; `ensemble_rule` combines the scores of all."""
    ensemble_rule: str = "mean"
    """Score of several reward models: "mean", "min", or "uncertainty", the mean minus
    `ensemble_penalty` times the variance (Coste et al. 2023)."""
    ensemble_penalty: float = 0.1
    """Factor on the variance of the members' scores (Coste et al. 2023, with PPO)."""
    rollout_slots: int = 256
    """Responses sampled side by side; changes memory and speed, not the result."""
    rollout_ranks: int = 1
    """Number of neighbouring processes that together hold one rollout copy of the policy, each a
    part of every layer; changes memory and traffic, not the result."""
    vllm: str | None = None
    """Address of a vLLM server that samples instead of this process, http://127.0.0.1:8000; it
    receives the policy's weights before each rollout."""
    vllm_tolerance: float = 1e-3
    """Largest allowed difference between the server's and the policy's log-prob of a token; the run
    stops above it. A server in bf16 needs a larger one."""
    share_base: bool = False
    """With adapters: policy, reward model and critic share one copy of the frozen weights. The
    reward model must have been trained from `model` with `lora_rank`."""
    cpu_offload: bool = False
    """Move to main memory what a phase does not need: while sampling, everything but the policy;
    while scoring, optimiser states and the average; while updating, reference and reward model."""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        for name in (
            *("episodes", "batch_size", "num_minibatches", "inner_epochs", "temperature"),
            *("rollout_slots", "rollout_ranks", "judge_patience", "vllm_tolerance"),
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("lr", "beta", "warmup_iterations", "eval_every", "ensemble_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if (self.eval_every > 0) != (self.eval_prompts is not None):
            raise ValueError("eval_every and eval_prompts need each other; give both or none")
        if self.ensemble_rule not in ENSEMBLE_RULES:
            raise ValueError(
                f"ensemble_rule is {self.ensemble_rule!r}; it must be one of "
                f"{', '.join(ENSEMBLE_RULES)}"
            )
        if self.tensor_parallel > 1 and self.rollout_ranks not in (1, self.tensor_parallel):
            raise ValueError(
                f"rollout_ranks is {self.rollout_ranks}, tensor_parallel {self.tensor_parallel}; "
                "the ranks that split layers also share a rollout copy: leave rollout_ranks out"
            )
        self._check_judges()
        check_address("vllm", self.vllm)
        for name in ("rollout_ranks", "tensor_parallel"):
            if self.vllm is not None and getattr(self, name) > 1:
                raise ValueError(f"{name} is above 1, which vllm does not support; leave one out")
        if self.num_learned % self.num_minibatches:
            raise ValueError(
                f"num_minibatches {self.num_minibatches} does not divide the {self.num_learned} "
                "responses that an iteration learns from; change it or batch_size"
            )

    @property
    def ranks_of_a_copy(self) -> int:
        """Number of processes that share a rollout copy: those that split layers, if any."""
        return max(self.rollout_ranks, self.tensor_parallel)

    def _check_judges(self) -> None:
        """ValueError for settings of judge or ensemble that would have no effect or miss their
        purpose."""
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model need each other; give both or none")
        if self.judge is not None and self.judge_url is not None:
            raise ValueError("judge and judge_url are two judges; give one")
        judged = self.judge is not None or self.judge_url is not None
        if judged and self.eval_every == 0:
            raise ValueError("a judge compares held-out responses; give eval_prompts, eval_every")
        scorers = [path.resolve() for path in (self.reward_model, *self.reward_ensemble)]
        if self.judge is not None and self.judge.resolve() in scorers:
            raise ValueError(
                f"judge {self.judge} gives the reward; give one that training does not use"
            )
        if len(set(scorers)) < len(scorers):
            raise ValueError("reward_ensemble names a reward model twice; give different ones")
        same = self.eval_prompts and self.eval_prompts.resolve() == self.prompts.resolve()
        if judged and same:
            raise ValueError("eval_prompts are the training prompts; give the judge others")
        several = bool(self.reward_ensemble)
        uncertain = several and self.ensemble_rule == "uncertainty"
        defaults = {field.name: field.default for field in fields(self)}
        for name, needed, given in (
            ("judge_patience", "a judge", judged),
            ("ensemble_rule", "reward_ensemble", several),
            ("ensemble_penalty", 'ensemble_rule "uncertainty"', uncertain),
            ("vllm_tolerance", "vllm", self.vllm is not None),
            ("share_base", "lora_rank", self.lora_rank > 0),
        ):
            if getattr(self, name) != defaults[name] and not given:
                raise ValueError(f"{name} is given, but has no effect without {needed}")

    @property
    def num_iterations(self) -> int:
        """Iterations of `batch_size` episodes."""
        return -(-self.episodes // self.batch_size)

    @property
    def num_learned(self) -> int:
        """Episodes of an iteration that the policy learns from."""
        return self.batch_size


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSettings(RolloutSettings):
    """Several responses to each prompt, compared with each other; there is no critic."""

    responses_per_prompt: int = 4
    """Responses to each prompt of an iteration; `batch_size` counts all of them."""

    def __post_init__(self) -> None:
        if self.responses_per_prompt < 2:
            raise ValueError(
                f"responses_per_prompt is {self.responses_per_prompt}; it must be at least 2, "
                "since a response is compared with the others to its prompt"
            )
        if self.batch_size % self.responses_per_prompt:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of responses_per_prompt "
                f"{self.responses_per_prompt}"
            )
        RolloutSettings.__post_init__(self)
