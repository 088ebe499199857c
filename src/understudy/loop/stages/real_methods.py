"""The report of the methods on a real model: `understudy real --study methods`."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.evaluation.points import decimal, percent
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.ablated import spent
from understudy.loop.stages.real_report import compare
from understudy.loop.stages.study_report import write_study

JUDGES = {"second_reward_model": "Second reward model", "reward_model": "Reward model"}
"""The judges; the one that no method was trained with comes first."""
HEAD = (
    "Method",
    "learning rate",
    "Second reward model",
    "Reward model",
    "KL, nats",
    "responses sampled",
    "seconds of training",
    "HellaSwag",
    "loss on text",
)


def report(call: StageCall) -> None:
    """results.json and report.html: win rates over SFT, KL, training cost, and alignment tax."""
    methods = call.config["methods"]
    compare(call)
    found = json.loads((call.out / "run" / "results.json").read_text(encoding="utf-8"))
    wins = {title: found[f"win_rates_vs_sft_{key}"] for key, title in JUDGES.items()}
    rows = {method: measured(call, method) for method in methods}
    panels: dict[str, Any] = {
        title: {method: table[method] for method in ("sft_null", *methods)}
        for title, table in wins.items()
    }
    results = {
        "title": "Was PPO needed, on a real model?",
        "lead": "PPO-ptx, RLOO, GRPO, RAFT and DPO from the same SFT model, on held-out "
        "conversations: how often each model's response scores above SFT's. The second reward "
        "model was trained on other conversations than the one that the methods learned from.",
        "bars": "Bars are 95% intervals over conversations.",
        "study": {
            "name": "methods",
            "title": "Win rate over SFT.",
            "caption": "Further right is better; SFT again is a second sample of SFT's.",
            "panels": panels,
            "methods": rows,
            "table": {
                "head": HEAD,
                "rows": [
                    line(method, row, panels, call.config["settings"])
                    for method, row in rows.items()
                ],
            },
            "more": [
                {
                    "title": "HellaSwag.",
                    "caption": "What training should leave as it is.",
                    "panels": {
                        "HellaSwag": {
                            name: tax_of(call, name)["benchmarks"]["hellaswag"]
                            for name in ("sft", *methods)
                        }
                    },
                }
            ],
        },
        "settings": call.config["settings"],
        "caveats": [
            "Nobody has read these responses: both judges are reward models of a few hundred "
            "pairs, and a judge of the same base model may share the mistakes of the one that the "
            "methods learned from.",
            "Each method has one learning rate; another may suit it better.",
            "KL is the mean log-ratio to SFT, at temperature 1, of the responses judged, which are "
            "sampled at a lower one.",
        ],
    }
    write_study(call, results)


def measured(call: StageCall, method: str) -> dict[str, Any]:
    """A method's training cost, its KL, and its alignment tax."""
    kl = json.loads(call.path(f"kl_{method}").read_text())
    return {**spent(call.path(f"model_{method}").parent), **kl, **tax_of(call, method)}


def tax_of(call: StageCall, method: str) -> dict[str, Any]:
    """Benchmarks and pretraining loss of a model."""
    return dict(json.loads(call.path(f"tax_{method}").read_text()))


def line(
    method: str,
    row: Mapping[str, Any],
    panels: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> list[str]:
    """A row of the table."""
    from understudy.evaluation.figures import label_of

    lr = settings["ppo" if method == "ppo_ptx" else method].get("lr")
    return [
        label_of(method),
        "default" if lr is None else f"{lr:g}",
        *(percent(panels[title][method]) for title in JUDGES.values()),
        decimal(row["kl"]),
        f"{row['samples']:,}",
        f"{row['seconds']:.0f}",
        percent(row["benchmarks"]["hellaswag"]),
        decimal(row["pretraining_loss"], 3),
    ]
