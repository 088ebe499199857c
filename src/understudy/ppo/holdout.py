"""Responses to held-out prompts during training: texts, and the score against the KL.

Each row of samples.jsonl is one response of the live policy: step (iterations done), prompt_id,
response, finished, score (with the fixed score of a missing EOS), raw_score, kl (sum of log-ratios
over the response's tokens). Scoring the texts with a gold judge later gives the over-optimisation
curve. Every evaluation uses the same sampling noise.
"""

import torch

from understudy.models.chat import decode_response
from understudy.ppo.config import PPOConfig
from understudy.ppo.prompts import Prompts
from understudy.ppo.rewards import final_scores
from understudy.ppo.rollout import measure, sample
from understudy.ppo.state import Models
from understudy.training.run import Run


def evaluate(
    run: Run, config: PPOConfig, models: Models, prompts: Prompts, step: int
) -> dict[str, float]:
    """Sample one response to every held-out prompt, append the rows, and return the means."""
    episodes = sample(
        models.policy,
        prompts.ids,
        keys=[(-1, i) for i in range(len(prompts.ids))],
        seed=config.seed,
        temperature=config.temperature,
        max_response_tokens=config.max_response_tokens,
        stop_ids=models.stop_ids,
        pad_id=models.pad_id,
        slots=config.rollout_slots,
        replica=models.replica,
        ranks=models.ranks,
    )
    measure(
        episodes,
        models.reference,
        models.reward_model,
        None,
        temperature=config.temperature,
        micro_batch_tokens=config.micro_batch_tokens,
        ranks=models.ranks,
    )
    raw_scores_B = episodes.raw_scores_B
    scores_B = final_scores(raw_scores_B, episodes.finished_B, config.missing_eos_score)
    kl_BR = (episodes.old_logprobs_BR - episodes.ref_logprobs_BR) * episodes.mask_BR
    columns = (episodes.finished_B, scores_B, raw_scores_B, kl_BR.sum(dim=1))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for i, (finished, score, raw_score, kl) in enumerate(rows):
        run.append(
            "samples.jsonl",
            {
                "step": step,
                "prompt_id": prompts.records[i].id,
                "response": decode_response(models.tokenizer, episodes.response_ids[i]),
                "finished": finished,
                "score": score,
                "raw_score": raw_score,
                "kl": kl,
            },
        )
    return {
        "ppo/eval_score": float(scores_B.mean()),
        "ppo/eval_kl": float(kl_BR.sum(dim=1).mean()),
        "ppo/eval_eos_rate": float(episodes.finished_B.to(torch.float32).mean()),
    }
