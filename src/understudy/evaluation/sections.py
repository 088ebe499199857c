"""The report's sections about faults, the reward model, training and the alignment tax."""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import (
    Table,
    in_order,
    label_of,
    overoptimisation_figure,
    panels_figure,
    training_figure,
    value_of,
)
from understudy.evaluation.public import benchmark_table
from understudy.evaluation.tables import by_model, describe, transposed, verdict

Results = Mapping[str, Any]

CONDUCT = {
    "fails_instruction": "Fails the instruction",
    "satisfies_constraint": "Satisfies the constraint",
    "inappropriate_for_customer_assistant": "Unfit for customers",
    "gives_harmful_advice": "Gives harmful advice",
}
TRUTH = {
    "hallucination_answerable": "Hallucination\n(answer in the text)",
    "hallucination_unanswerable": "Hallucination\n(no answer in the text)",
    "rude_plain": "Rude words",
    "rude_words": "Rude words",
    "rude_respectful_prefix": "Rude words\n(asked to be kind)",
    "rude_words_with_respectful_prefix": "Rude words\n(asked to be kind)",
}
"""The flags of the two figures, as people read them; all are in the table below."""

REWARD_ROWS = (
    ("accuracy", "Accuracy on held-out rankings", "sft"),
    ("accuracy_second", "Accuracy of the second reward model", "ppo"),
    ("accuracy_training_labelers", "Accuracy on training labelers", "sft"),
    ("accuracy_heldout_labelers", "Accuracy on held-out labelers", "sft"),
    ("accuracy_gold", "Accuracy against the gold judge", "sft"),
    ("bayes_accuracy", "Best possible (Bayes), given the labelers' noise", "best-of-n"),
    ("labeler_agreement", "Training labelers with each other", "base"),
    ("heldout_agreement", "Held-out labelers with each other", "base"),
    ("length_only", "Rule that knows only length", "base"),
    ("chance", "Chance", "base"),
)


def flags_section(results: Results) -> str:
    flags: Mapping[str, Table] = results.get("flags") or {}
    if not flags:
        return ""
    every = transposed(flags, list(dict.fromkeys(name for t in flags.values() for name in t)))
    truth = TRUTH if "hallucination_answerable" in every else {"hallucination": "Hallucination"}
    drawn = [
        _flag_figure(every, CONDUCT, "Instructions and conduct.", "Share of answers."),
        _flag_figure(
            every,
            {**truth, **TRUTH},
            "Truth and rudeness.",
            "Hallucination counts on prompts that bring their own text, apart by whether the "
            "answer is in it: a model that always says it is not never hallucinates.",
        ),
    ]
    numbers = by_model({name.replace("_", " "): table for name, table in every.items()})
    more = f"<details><summary>All flags in numbers</summary>{numbers}</details>"
    return page.figures(*drawn) + more


def _flag_figure(
    every: Mapping[str, Table], names: Mapping[str, str], title: str, caption: str
) -> str:
    panels = {text: every[name] for name, text in names.items() if name in every}
    if not panels:
        return ""
    alt = ". ".join(f"{_one_line(name)}: {describe(table)}" for name, table in panels.items())
    return page.figure(panels_figure(panels), title, caption, alt)


def reward_section(results: Results) -> str:
    reward = results.get("reward_model") or {}
    rows = [
        (name, page.with_ends(reward[key]) + page.bar(value_of(reward[key]) or 0.0, colour))
        for key, name, colour in REWARD_ROWS
        if value_of(reward.get(key)) is not None
    ]
    if not rows and not reward.get("gate"):
        return ""
    text = (
        "How often the higher score goes to the answer that was preferred, on prompts that it was "
        "not trained on, ties left out. Labelers disagree among themselves: 100% is out of reach."
    )
    made = page.table(("", "Pairs right"), rows, raw=True) if rows else ""
    return page.paragraph(text) + made + _gate(reward.get("gate") or {})


def _gate(gate: Mapping[str, Any]) -> str:
    best_of = gate.get("best_of") or {}
    if not best_of:
        return ""
    passed = bool(gate.get("passed"))
    kind, word = ("good", "passed") if passed else ("bad", "not passed")
    mark = f'<span class="badge {kind}">{word}</span>'
    text = (
        "Before it may train a policy, the reward model has to choose well: the best of 4 and of "
        "16 answers by its score must beat one answer by the gold judge."
    )
    rows = [(f"Best of {n}", page.with_ends(point), verdict(point)) for n, point in best_of.items()]
    return (
        f"<h3>The gate: {mark}</h3>"
        + page.paragraph(text)
        + page.table(("", "Win rate over one answer", ""), rows)
    )


def training_section(results: Results) -> str:
    curves = {k: v for k, v in (results.get("ppo_curve") or {}).items() if v}
    best = results.get("best_of_n") or {}
    drawn = []
    if curves:
        known = {key for curve in curves.values() for p in curve for key in p if p[key] is not None}
        titles = (("score", "Reward-model score"), ("gold", "Gold score"), ("kl", "KL, nats"))
        rows = [row for row in titles if row[0] in known]
        if rows:
            caption = "Held-out prompts where measured, else PPO's own rollouts."
            title, svg = "Reward and KL over training.", training_figure(curves, rows)
            drawn.append(page.figure(svg, title, caption, _ends(curves, rows)))
    svg = overoptimisation_figure(curves, best)
    if svg:
        caption = (
            "The score is what PPO climbs, gold what the score stands for; where they part, the "
            "policy learns the reward model's mistakes. Best-of-n stands at its KL bound."
        )
        rows = [("score", "score"), ("gold", "gold"), ("kl", "KL")]
        alt = (
            _ends(curves, rows)
            + " "
            + "; ".join(
                f"best of {n}: KL {page.decimal(p.get('kl'))}, gold {page.decimal(p.get('gold'))}"
                for n, p in best.items()
            )
        )
        drawn.append(page.figure(svg, "Over-optimisation.", caption, alt, _best_of_table(best)))
    return page.figures(*drawn)


def _best_of_table(best: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            f"Best of {n}",
            page.decimal(point.get("kl")),
            page.with_ends(point.get("gold"), as_percent=False),
            page.with_ends(point.get("win_rate")),
        )
        for n, point in best.items()
    ]
    return page.table(("", "KL bound, nats", "Gold", "Win rate"), rows) if rows else ""


def _ends(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[tuple[str, str]]
) -> str:
    """Where each curve begins and ends, in words."""
    said = []
    for name in in_order(list(curves)):
        for key, title in rows:
            values = [found for p in curves[name] if (found := value_of(p.get(key))) is not None]
            if values:
                said.append(f"{label_of(name)}: {title} from {values[0]:.2f} to {values[-1]:.2f}")
    return "; ".join(said) + "."


def tax_section(results: Results) -> str:
    benchmarks: Mapping[str, Table] = results.get("benchmarks") or {}
    loss: Table = results.get("pretraining_loss") or {}
    drawn = []
    if benchmarks:
        names = list(dict.fromkeys(name for table in benchmarks.values() for name in table))
        panels = {
            name.replace("_", " ").capitalize(): table
            for name, table in transposed(benchmarks, names).items()
        }
        alt = ". ".join(f"{title}: {describe(table)}" for title, table in panels.items())
        caption = "Skills of the base model that nobody asked to change; further right is better."
        svg = panels_figure(panels)
        drawn.append(page.figure(svg, "Benchmarks.", caption, alt, by_model(panels)))
    if loss:
        alt = f"Pretraining loss: {describe(loss, as_percent=False)}"
        panels = {"Loss per token, nats": loss}
        caption = "On text like the base model's; lower is better. PPO-ptx is there to keep it low."
        svg = panels_figure(panels, percent=False)
        numbers = by_model(panels, as_percent=False)
        drawn.append(page.figure(svg, "Pretraining loss.", caption, alt, numbers))
    return page.figures(*drawn) + benchmark_table(results.get("benchmark") or {})


def _one_line(text: str) -> str:
    return " ".join(text.split())
