"""The report of the methods on a real model: `understudy real --study methods`."""

import json
from typing import Any

from understudy.evaluation.bestofn import kl_bound, pick_best
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.ablated import by_samples, spent
from understudy.loop.stages.real_report import compare
from understudy.loop.stages.study_report import write_study
from understudy.records import Response, read_records, write_records
from understudy.training.run import read_lines

JUDGES = ("second_reward_model", "reward_model")
"""The judges; the one that no method was trained with comes first."""


def choose(call: StageCall) -> None:
    """responses.jsonl: for each n, the highest-scoring of every prompt's first n responses, as
    model best_of_N."""
    scores = json.loads(call.path("scores").read_text())
    pool = read_records(call.path("responses"), Response)
    given = [scores[response.id] for response in pool]
    best = [r for n in call.config["sizes"] for r in pick_best(pool, given, n, f"best_of_{n}")]
    write_records(call.out / "responses.jsonl", best)


def report(call: StageCall) -> None:
    """results.json and report.html: win rates over SFT, KL, training cost, and alignment tax."""
    compare(call)
    found = json.loads((call.out / "run" / "results.json").read_text(encoding="utf-8"))
    wins = {judge: found[f"win_rates_vs_sft_{judge}"] for judge in JUDGES}
    again = {"stage": "sft_null", "series": "sft_null", "value": "none", **tax_of(call, "sft")}
    arms = [
        {**again, "kl": 0.0, "samples": 0, "seconds": 0.0},
        *({**arm, **measured(call, arm["stage"])} for arm in call.config["arms"]),
    ]
    for arm in arms:
        arm["words"] = found["answers"][arm["stage"]]["words"]
        arm |= {f"win_rate_{judge}": table[arm["stage"]] for judge, table in wins.items()}
    chosen = wins["second_reward_model"]
    results = {
        "title": "Was PPO needed, on a real model?",
        "lead": "PPO-ptx, RLOO, GRPO, RAFT, DPO and KTO from the same SFT model, on held-out "
        "conversations: how often each model's response scores above SFT's. The second reward "
        "model was trained on other conversations than the one that the methods learned from. SFT "
        "again is a second sample of SFT's own responses.",
        "bars": "Bars are 95% intervals over conversations.",
        "ablation": {"name": "real_methods", "axis": "learning rate of the policy", "arms": arms},
        "best_of_n": {
            str(n): {"kl": kl_bound(n), "win_rate": chosen[f"best_of_{n}"]}
            for n in call.config["best_of"]
        },
        "ppo_curve": curves(call),
        "settings": call.config["settings"],
        "caveats": [
            "Nobody has read these responses: both judges are reward models of a few hundred "
            "pairs, and a judge of the same base model may share the mistakes of the one that the "
            "methods learned from.",
            "KL is the mean log-ratio to SFT, at temperature 1, of the responses judged, which are "
            "sampled at a lower one.",
        ],
    }
    write_study(call, results)


def measured(call: StageCall, arm: str) -> dict[str, Any]:
    """A method's training cost, its KL, and its alignment tax."""
    kl = json.loads(call.path(f"kl_{arm}").read_text())
    return {**spent(call.path(f"model_{arm}").parent), **kl, **tax_of(call, arm)}


def tax_of(call: StageCall, name: str) -> dict[str, Any]:
    """Benchmarks and pretraining loss of a model."""
    return dict(json.loads(call.path(f"tax_{name}").read_text()))


def curves(call: StageCall) -> dict[str, list[dict[str, Any]]]:
    """Score and KL on held-out conversations while each method that samples learns at its own
    rate."""
    found = {}
    for method in dict.fromkeys(arm["series"] for arm in call.config["arms"]):
        run = call.path(f"model_{method}").parent
        points = [
            {"iteration": row["step"], "score": score, "kl": row[name.replace("score", "kl")]}
            for row in read_lines(run / "metrics.jsonl")
            for name, score in row.items()
            if name.endswith("/eval_score")
        ]
        if points:
            found[method] = by_samples(points, int(spent(run)["samples"]))
    return found
