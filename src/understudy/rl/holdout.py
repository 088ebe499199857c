"""Responses to held-out prompts during training: texts, and the score against the KL.

Each row of samples.jsonl is one response of the live policy: step (iterations done), prompt_id,
response, finished, score (with the fixed score of a missing EOS), raw_score, kl (sum of log-ratios
over the response's tokens). Scoring the texts with a gold judge later gives the over-optimisation
curve. Every evaluation uses the same sampling noise.
"""

import torch

from understudy.models.chat import decode_response
from understudy.rl.models import Models
from understudy.rl.prompts import Prompts
from understudy.rl.rollout import judge, responses_to
from understudy.rl.scores import final_scores
from understudy.rl.settings import RolloutSettings
from understudy.training.run import Run


def evaluate_if_due(
    run: Run, config: RolloutSettings, models: Models, prompts: Prompts | None, step: int
) -> dict[str, float]:
    """`evaluate` every `eval_every` iterations, before the first and after the last; else {}."""
    if prompts is None or (step % config.eval_every and step != config.num_iterations):
        return {}
    return evaluate(run, config, models, prompts, step)


def evaluate(
    run: Run, config: RolloutSettings, models: Models, prompts: Prompts, step: int
) -> dict[str, float]:
    """Sample one response to every held-out prompt, append the rows, and return the means."""
    keys: list[tuple[int, ...]] = [(-1, i) for i in range(len(prompts.ids))]
    episodes = responses_to(config, models, prompts.ids, keys)
    judge(config, models, episodes)
    raw_scores_B = episodes.raw_scores_B
    scores_B = final_scores(raw_scores_B, episodes.finished_B, config.missing_eos_score)
    kl_B = episodes.kl_B()
    columns = (episodes.finished_B, scores_B, raw_scores_B, kl_B)
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
        "eval_score": float(scores_B.mean()),
        "eval_kl": float(kl_B.mean()),
        "eval_eos_rate": float(episodes.finished_B.to(torch.float32).mean()),
    }
