"""Responses to held-out prompts during training: texts, and the score against the KL.

Each row of samples.jsonl is one response of the live policy: step (iterations done), prompt_id,
response, finished, score (with the fixed score of a missing EOS), raw_score, kl (sum of log-ratios
over the response's tokens), and, if there is a judge, judge_outcome (1, 0.5 or 0 against the first
evaluation's response). Scoring the texts with a gold judge later gives the over-optimisation curve.
Every evaluation uses the same sampling noise.
"""

import torch

from understudy.models.chat import decode_response
from understudy.rl.models import Models
from understudy.rl.prompts import Prompts
from understudy.rl.rollout import responses_to, score_episodes
from understudy.rl.scores import scores_of
from understudy.rl.settings import RolloutSettings
from understudy.rl.stopping import Said, Watch
from understudy.training.run import Run


def evaluate_if_due(
    run: Run,
    config: RolloutSettings,
    models: Models,
    prompts: Prompts | None,
    step: int,
    watch: Watch | None,
) -> dict[str, float]:
    """`evaluate` every `eval_every` iterations, before the first and after the last; else {}."""
    if prompts is None or (step % config.eval_every and step != config.num_iterations):
        return {}
    return evaluate(run, config, models, prompts, step, watch)


def evaluate(
    run: Run,
    config: RolloutSettings,
    models: Models,
    prompts: Prompts,
    step: int,
    watch: Watch | None,
) -> dict[str, float]:
    """Sample one response to every held-out prompt, append the rows, and return the means."""
    keys: list[tuple[int, ...]] = [(-1, i) for i in range(len(prompts.ids))]
    episodes = responses_to(config, models, prompts.ids, keys)
    score_episodes(config, models, episodes)
    raw_scores_B = episodes.raw_scores_B
    scores_B = scores_of(config, episodes)
    kl_B = episodes.kl_B()
    columns = {"finished": episodes.finished_B, "score": scores_B, "raw_score": raw_scores_B}
    table = {name: column.tolist() for name, column in columns.items()} | {"kl": kl_B.tolist()}
    texts = [decode_response(models.tokenizer, ids) for ids in episodes.response_ids]
    judged = {}
    if watch is not None:
        said = [Said(*pair) for pair in zip(texts, table["finished"], strict=True)]
        table["judge_outcome"], rate = watch.look(step, prompts.records, said)
        judged = {"eval_judge": rate}
    for i, (record, text) in enumerate(zip(prompts.records, texts, strict=True)):
        row = {"step": step, "prompt_id": record.id, "response": text}
        run.append("samples.jsonl", row | {name: values[i] for name, values in table.items()})
    return judged | {
        "eval_score": float(scores_B.mean()),
        "eval_kl": float(kl_B.mean()),
        "eval_eos_rate": float(episodes.finished_B.to(torch.float32).mean()),
    }
