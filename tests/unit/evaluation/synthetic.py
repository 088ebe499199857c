"""A made-up results.json that has every key; no number in it was measured."""

import math


def point(rate, half=0.04, n=600, name="rate"):
    return {name: rate, "low": rate - half, "high": rate + half, "n": n}


def share(rate, half=0.04, n=600):
    return {"rate": rate, "low": max(0, rate - half), "high": min(1, rate + half), "n": n}


def against(rates):
    return {
        "win_rates_vs_sft": {name: share(rate) for name, rate in rates.items()},
        "win_rates_vs_sft_gold": {name: share(rate + 0.01) for name, rate in rates.items()},
    }


def ablation():
    arms = [
        {
            "series": series,
            "value": value,
            "stage": f"{series}-{value}",
            "win_rate": share(0.5 + 0.03 * place),
            "win_rate_gold": share(0.5 + 0.04 * place),
            "likert": point(4 + 0.1 * place, 0.1, name="mean"),
            "score": point(0.1 * place, 0.05, name="mean"),
            "kl": point(0.4 * place, 0.1, name="mean"),
            "pretraining_loss": 0.8 + 0.1 * place,
            "benchmarks": {"reading": share(0.7 - 0.1 * place), "zog": share(0.9)},
        }
        for series in ("ppo", "ppo_ptx")
        for place, value in enumerate(("0", "0.015", "0.15", "1.5"))
    ]
    axis = "KL coefficient (beta)"
    return {"title": "Beta", "ablation": {"name": "beta", "axis": axis, "arms": arms}}


def wins(shift):
    rates = {"base": 0.08, "prompted": 0.17, "sft_null": 0.5, "ppo": 0.57, "ppo_ptx": 0.6}
    rates |= {"best_of_n": 0.61, "prompted_07": 0.4, "sft_greedy": 0.56, "rl_init": 0.47}
    table = {m: share(min(0.97, max(0.02, r + shift * (r - 0.5)))) for m, r in rates.items()}
    return {m: {**row, "per_user": share(row["rate"] - 0.02, n=120)} for m, row in table.items()}


FLAGS = {
    "fails_instruction": [0.81, 0.66, 0.3, 0.22, 0.19, 0.17],
    "satisfies_constraint": [0.2, 0.31, 0.72, 0.8, 0.83, 0.85],
    "inappropriate_for_customer_assistant": [0.12, 0.09, 0.05, 0.02, 0.02, 0.03],
    "hallucination": [0.7, 0.6, 0.35, 0.21, 0.22, 0.25],
    "hallucination_answerable": [0.66, 0.55, 0.3, 0.22, 0.22, 0.22],
    "hallucination_unanswerable": [0.75, 0.7, 0.41, 0.2, 0.21, 0.3],
    "sexual_content": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "expresses_opinion": [0.1, 0.08, 0.05, 0.04, 0.05, 0.05],
    "rude_plain": [0.31, 0.3, 0.14, 0.05, 0.06, 0.08],
    "rude_respectful_prefix": [0.22, 0.2, 0.09, 0.01, 0.02, 0.03],
}
ROW = ["base", "prompted", "sft", "ppo", "ppo_ptx", "best_of_n"]


def curve(speed, hacked):
    rows = []
    for i in range(0, 41, 2):
        kl = speed * 9 * (1 - math.exp(-i / 14))
        gold = 3.0 + 0.5 * math.sqrt(kl) - hacked * kl
        rows.append(
            {
                "iteration": i,
                "kl": kl,
                "score": 0.9 * math.sqrt(kl),
                "gold": point(gold, 0.05, name="mean"),
            }
        )
    return rows


EXAMPLE_TEXTS = {
    "base": "the bread is in the kitchen. ask: what is a cat? reply: a cat is an animal. ask:",
    "prompted": "Soup is a food.",
    "sft": "Anna eats bread and cheese.",
    "ppo": "Anna eats bread, cheese and soup.",
    "ppo_ptx": "Anna eats bread, cheese and soup. She likes the soup best.",
    "best_of_n": "Anna eats bread, cheese & <b>soup</b>.",
}


def means(values, half):
    return {m: point(v, half, name="mean") for m, v in zip(ROW, values, strict=True)}


MINUTES = {"prompts": 0.1, "screen": 0.1, "demonstrate": 0.1, "sft": 1.2, "sample": 0.9}
MINUTES |= {"rank": 0.1, "reward": 1.3, "rl_init": 0.3, "ppo": 1.4, "ppo_ptx": 1.6}
MINUTES |= {"evaluate": 0.8}


def results():
    """Every key of docs/evaluation.md."""
    return {
        "baseline": "sft",
        "users": "unseen",
        "answers": {
            model: {
                "words": point(9.5, 0.4, name="mean"),
                "words_if_ended": point(9.1, 0.4, name="mean"),
                "ended": share(0.97, 0.02),
            }
            for model in ("base", "sft", "ppo_ptx")
        },
        "minutes": MINUTES,
        "win_rates_vs_sft": wins(0.0),
        "win_rates_vs_sft_gold": wins(0.5),
        "win_rates_vs_sft_training_labelers": wins(0.2),
        "greedy": {"win_rates_vs_sft": wins(-0.1), "win_rates_vs_sft_gold": wins(0.2)},
        "against_greedy_sft": against({"base": 0.1, "ppo": 0.52, "ppo_ptx": 0.55, "sft_null": 0.4}),
        "seen_requests": against({"base": 0.15, "prompted_07": 0.44, "ppo_ptx": 0.7}),
        "unclear_requests": against({"base": 0.3, "ppo_ptx": 0.51}),
        "adversaries": against(
            {"echo": 0.05, "constant_refusal": 0.2, "shortest_of_16": 0.55, "verdict_of_16": 0.58}
        ),
        "win_rates_by_size": {
            "0.2M": {"base": share(0.03), "sft": share(0.3), "ppo_ptx": share(0.42)},
            "1M": {"base": share(0.06), "sft": share(0.5), "ppo_ptx": share(0.6)},
            "3M": {"base": share(0.12), "sft": share(0.55), "ppo_ptx": share(0.68)},
        },
        "gold": means((1.6, 2, 3, 3.2, 3.25, 3.3), 0.05),
        "likert": means((2.4, 3, 4.6, 5.1, 5.2, 5.2), 0.1),
        "flags": {
            model: {flag: share(values[i], 0.03, 300) for flag, values in FLAGS.items()}
            for i, model in enumerate(ROW)
        },
        "reward_model": {
            "accuracy_training_labelers": share(0.71, 0.02),
            "accuracy_heldout_labelers": share(0.69, 0.02),
            "accuracy_gold": share(0.78, 0.02),
            "accuracy_without_labels": {
                **share(0.6, 0.02),
                "training_labelers": share(0.57, 0.02),
                "heldout_labelers": share(0.56, 0.02),
            },
            "bayes_accuracy": 0.83,
            "labeler_agreement": share(0.73, 0.02),
            "heldout_agreement": share(0.75, 0.02),
            "chance": 0.5,
            "length_only": share(0.54, 0.02),
            "gate": {"best_of": {"4": share(0.6), "16": share(0.64)}, "passed": True},
        },
        "benchmarks": {
            model: {
                "facts": share(0.97 - i * 0.01, 0.01),
                "sentiment": share(0.9 - i * 0.05),
                "reading": share(0.8 - i * 0.08),
                "translation": share(0.95 - i * 0.03, 0.02),
            }
            for i, model in enumerate(("base", "sft", "ppo_ptx", "ppo"))
        },
        "pretraining_loss": {"base": 0.76, "sft": 0.81, "ppo": 1.35, "ppo_ptx": 0.78},
        "best_of_n": {
            str(n): {
                "kl": math.log(n) - (n - 1) / n,
                "gold": point(3.0 + 0.1 * math.log2(n), 0.04, name="mean"),
                "win_rate": share(0.5 + 0.04 * math.log2(n)),
            }
            for n in (1, 2, 4, 8, 16)
        },
        "ppo_curve": {"ppo": curve(1.0, 0.12), "ppo_ptx": curve(0.7, 0.08)},
        "examples": [
            {
                "prompt": f"What does Anna eat? List {n} foods.",
                "use_case": "open_qa",
                "why": ("largest gain: +1.20 by gold", "largest loss: -2.00 by gold", "")[n % 3],
                "answers": {m: {"text": t, "gold": 3.1} for m, t in EXAMPLE_TEXTS.items()},
            }
            for n in range(10)
        ],
        "settings": {
            "sft": {
                "epochs": 16,
                "lr": 1.5e-3,
                "dropout": 0.2,
                "resume": False,
                "valid_data": None,
            },
            "ppo": {"beta": 0.1, "episodes": 10240, "betas": [0.9, 0.95]},
        },
        "caveats": ["One seed.", "Simulated labelers are kinder than people."],
        "data": {
            "raw_prompts": 5200,
            "kept_prompts": 4100,
            "demonstrations": 1000,
            "rankings": 4000,
        },
        "first_shown": share(0.49),
        "screening": {
            "candidates": [{"id": "l1", "failed": []}, {"id": "l2", "failed": ["flags"]}]
        },
        "wall_minutes": 6.2,
        "seed": 0,
        "code_version": "abc1234",
    }
