"""The report's sections about faults, the reward model, training and the alignment tax."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import (
    ablation_figure,
    cost_figure,
    in_order,
    label_of,
    overoptimisation_figure,
    panels_figure,
    training_figure,
    win_rate_figure,
)
from understudy.evaluation.points import Point, Table, decimal, value_of, with_ends
from understudy.evaluation.public import benchmark_table
from understudy.evaluation.readings import (
    arms_reading,
    costs_reading,
    loss_reading,
    overoptimisation_reading,
    shares_reading,
    training_reading,
    tricks_reading,
    wins_reading,
)
from understudy.evaluation.tables import by_model, describe, transposed, verdict, win_tables

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
"""Display names of the flags in the two figures; the table below them has all flags."""

REWARD_ROWS = (
    ("accuracy", "Accuracy on held-out rankings", "sft"),
    ("accuracy_second", "Accuracy of the second reward model", "ppo"),
    ("accuracy_training_labelers", "Accuracy on training labelers", "sft"),
    ("accuracy_heldout_labelers", "Accuracy on held-out labelers", "sft"),
    ("accuracy_gold", "Accuracy against the gold judge", "sft"),
    ("without_gold", "Base's verdict, no labels, against the gold judge", "base"),
    ("without_training_labelers", "Base's verdict, no labels, on training labelers", "base"),
    ("without_heldout_labelers", "Base's verdict, no labels, on held-out labelers", "base"),
    ("bayes_accuracy", "Best possible (Bayes), given the labelers' noise", "best-of-n"),
    ("labeler_agreement", "Training labelers with each other", "base"),
    ("heldout_agreement", "Held-out labelers with each other", "base"),
    ("length_only", "The length rule", "base"),
    ("chance", "Chance", "base"),
)


def flags_section(results: Results) -> str:
    flags: Mapping[str, Table] = results.get("flags") or {}
    if not flags:
        return ""
    every = _by_flag(flags)
    baseline = str(results.get("baseline", "sft"))
    truth = TRUTH if "hallucination_answerable" in every else {"hallucination": "Hallucination"}
    drawn = [
        _flag_figure(every, baseline, CONDUCT, "Instructions and conduct.", "Share of responses."),
        _flag_figure(
            every,
            baseline,
            {**truth, **TRUTH},
            "Truth and rudeness.",
            "Hallucination counts only on prompts about a given text, separately by whether the "
            "text holds the answer: a model that always says it does not never hallucinates.",
        ),
    ]
    more = _flags_in_numbers("All flags in numbers", every)
    for policy, found in (results.get("flags_by_policy") or {}).items():
        more += _flags_in_numbers(f"Flags under the policy {policy}", _by_flag(found))
    return page.figures(*drawn) + more


def _by_flag(flags: Mapping[str, Table]) -> dict[str, Table]:
    return transposed(flags, list(dict.fromkeys(name for t in flags.values() for name in t)))


def _flags_in_numbers(title: str, every: Mapping[str, Table]) -> str:
    numbers = by_model({name.replace("_", " "): table for name, table in every.items()})
    return f"<details><summary>{escape(title)}</summary>{numbers}</details>"


def _flag_figure(
    every: Mapping[str, Table], baseline: str, names: Mapping[str, str], title: str, caption: str
) -> str:
    panels = {text: every[name] for name, text in names.items() if name in every}
    if not panels:
        return ""
    alt = ". ".join(f"{_one_line(name)}: {describe(table)}" for name, table in panels.items())
    reading = shares_reading(panels, baseline)
    return page.figure(panels_figure(panels), title, caption, alt, reading=reading)


def reward_section(results: Results) -> str:
    reward = results.get("reward_model") or {}
    without = reward.get("accuracy_without_labels") or {}
    pools = ("training_labelers", "heldout_labelers")
    reward = {**reward, "without_gold": without}
    reward |= {f"without_{pool}": without[pool] for pool in pools if pool in without}
    rows = [
        (name, with_ends(reward[key]) + page.bar(value_of(reward[key]) or 0.0, colour))
        for key, name, colour in REWARD_ROWS
        if value_of(reward.get(key)) is not None
    ]
    if not rows and not reward.get("gate"):
        return ""
    text = (
        "How often the preferred response gets the higher score, on prompts unseen in training, "
        "ties left out. Labelers disagree among themselves, so 100% is out of reach."
    )
    made = page.table(("", "Pairs right"), rows, raw=True) if rows else ""
    return page.paragraph(text) + made + _learned(reward) + _gate(reward.get("gate") or {})


def _learned(reward: Mapping[str, Any]) -> str:
    """How much of the reward model's lead over chance comes from labels."""
    known, trained = value_of(reward.get("without_gold")), value_of(reward.get("accuracy_gold"))
    if known is None or trained is None or trained <= 0.5:
        return ""
    share = (trained - max(known, 0.5)) / (trained - 0.5)
    return page.paragraph(
        'Without any labels, the base model, which has read comments on replies ("good." or '
        f'"bad: ..."), orders {100 * known:.0f}% of the pairs as the gold judge does. '
        f"{100 * share:.0f}% of the reward model's lead over chance comes from labels."
    )


def _gate(gate: Mapping[str, Any]) -> str:
    best_of = gate.get("best_of") or {}
    if not best_of:
        return ""
    passed = bool(gate.get("passed"))
    kind, word = ("good", "passed") if passed else ("bad", "not passed")
    mark = f'<span class="badge {kind}">{word}</span>'
    text = (
        "Before it may train a policy, the reward model has to choose well: the best of 4 and of "
        "16 responses by its score must beat one response by the gold judge."
    )
    rows = [(f"Best of {n}", with_ends(point), verdict(point)) for n, point in best_of.items()]
    return (
        f"<h3>The gate: {mark}</h3>"
        + page.paragraph(text)
        + page.table(("", "Win rate over one response", ""), rows)
    )


SETS = {
    "New requests": None,
    "Seen in training": "seen_requests",
    "Unclear": "unclear_requests",
}
"""Test prompts by whether training has seen the request: title -> key of results.json."""


def explanations_section(results: Results) -> str:
    """What else could explain the win rates: seen requests, colder sampling, cheap tricks."""
    cold = win_tables(results, results.get("against_greedy_sft") or {})
    tricks = win_tables(results, results.get("adversaries") or {})
    drawn = [
        _wins_figure(
            cold,
            "Sampled responses against SFT's greedy ones.",
            "A model above 50% here does not win merely by sampling with less noise than SFT.",
            wins_reading(cold, "SFT, greedy") if cold else "",
        ),
        _wins_figure(
            tricks,
            "Responses made without knowledge of preferences.",
            "Constants, the prompt itself, a choice among several SFT responses by length, "
            "likelihood or the base model's own verdict, against SFT's responses. One far above "
            "50% would be a way to win without learning what people want.",
            tricks_reading(tricks),
        ),
    ]
    return page.figures(*drawn) + _seen(results)


def _wins_figure(tables: Mapping[str, Table], title: str, caption: str, reading: str) -> str:
    if not tables:
        return ""
    alt = f"{title} " + ". ".join(f"{judge}: {describe(t)}" for judge, t in tables.items())
    svg, numbers = win_rate_figure(tables), by_model(tables)
    return page.figure(svg, title, caption, alt, numbers, reading=reading)


def _seen(results: Results) -> str:
    """Win rates on requests that training has seen, and on unclear ones, beside the new ones."""
    sets = {
        title: win_tables(results, results.get(key) or {} if key else None)
        for title, key in SETS.items()
    }
    if not any(tables for title, tables in sets.items() if SETS[title]):
        return ""
    parts = []
    for judge in next(iter(sets.values())):
        found = {title: tables[judge] for title, tables in sets.items() if judge in tables}
        parts.append(f"<h3>{escape(judge)}</h3>" + by_model(found))
    text = (
        "All other figures are on new requests, which occur in no demonstration, ranking, RL "
        "prompt or page under any greeting, name or politeness. Here are the others beside them."
    )
    tables = f"<details><summary>Win rates by request</summary>{''.join(parts)}</details>"
    return "<h3>Requests that training has seen</h3>" + page.paragraph(text) + tables


ABLATION = {
    "win_rate": ("Held-out labelers' win rate", 0.5),
    "win_rate_gold": ("Gold judge's win rate", 0.5),
    "win_rate_second_reward_model": ("Second reward model's win rate", 0.5),
    "win_rate_reward_model": ("Reward model's win rate", 0.5),
    "likert": ("Likert, 1 to 7", None),
    "score": ("Reward-model score", None),
    "kl": ("KL, nats", None),
    "pretraining_loss": ("Pretraining loss, nats", None),
    "words": ("Words per response", None),
    "seconds": ("Seconds of training", None),
}
"""Panels of an ablation: key of an arm -> (title, value that means no difference)."""
BEST_JUDGES = {
    "win_rate_gold": "the gold judge",
    "win_rate_second_reward_model": "the second reward model",
}
"""The judges that a study's methods are compared by: the first of them that the study has."""


def ablation_section(results: Results) -> str:
    """The curves of `demo --ablation`, and the methods of a study, by what they gain and cost."""
    ablation = results.get("ablation") or {}
    if not ablation:
        return ""
    names = list(dict.fromkeys(name for arm in ablation["arms"] for name in arm["benchmarks"]))
    arms = [
        {**arm, **{f"on {name}": point for name, point in arm["benchmarks"].items()}}
        for arm in ablation["arms"]
    ]
    known = {key for arm in arms for key in arm}
    panels = {key: titled for key, titled in ABLATION.items() if key in known}
    skills: dict[str, tuple[str, float | None]] = {
        f"on {name}": (name.replace("_", " ").capitalize(), None) for name in names
    }
    judge = next((key for key in BEST_JUDGES if key in panels), "")
    is_study = all("seconds" in arm for arm in arms)
    drawn = [_costs(arms, results.get("best_of_n") or {}, judge)] if is_study else []
    for shown, title, caption in (
        (panels, "Preference, score and forgetting.", "Against SFT's responses, on new requests."),
        (skills, "Benchmarks.", "Skills that training should leave as they are."),
    ):
        if shown:
            svg = ablation_figure(arms, ablation["axis"], shown)
            alt = f"{title} " + _arms_in_words(arms, shown)
            numbers = _arms_table(arms, ablation["axis"], shown)
            reading = arms_reading(arms, ablation["axis"], shown)
            drawn.append(page.figure(svg, title, caption, alt, numbers, reading=reading))
    text = (
        f"One setting at a time: {ablation['axis']}. Everything else stays as it is, so the loop's "
        "own PPO runs are points of these curves. Dashed: no preference."
    )
    table = _best_arms(arms, ablation["axis"], panels, judge) if is_study else ""
    return table + page.paragraph(text) + page.figures(*drawn)


def _costs(
    arms: Sequence[Mapping[str, Any]], best: Mapping[str, Mapping[str, Any]], judge: str
) -> str:
    """The figure of a study's methods: what they gain, and at what cost."""
    caption = (
        f"{ABLATION[judge][0]} over SFT. A line joins a method's learning rates in order. "
        "Best-of-n, by the reward model, is drawn at its KL bound; it needs no training, but n "
        "samples for each response. Over several seeds, the seconds are the least."
    )
    title, keys = "Gain and cost.", (judge, "kl", "seconds")
    alt = f"{title} " + _arms_in_words(arms, {key: ABLATION[key] for key in keys})
    reading, numbers = costs_reading(arms, judge), _best_of_table(best)
    return page.figure(
        cost_figure(arms, best, judge), title, caption, alt, numbers, reading=reading
    )


def _best_arms(
    arms: Sequence[Mapping[str, Any]], axis: str, panels: Mapping[str, Any], judge: str
) -> str:
    """A study's methods, each at its best setting."""
    rows = []
    for series in in_order(list(dict.fromkeys(arm["series"] for arm in arms))):
        ours = [arm for arm in arms if arm["series"] == series]
        best = max(ours, key=lambda arm: value_of(arm[judge]) or 0.0)
        numbers = (_number(key, best.get(key)) for key in panels)
        rows.append((label_of(series), best["value"], f"{best['samples']:,}", *numbers))
    head = ("method", axis, "responses sampled", *(title for title, _ in panels.values()))
    text = (
        f"Each method at the best of its settings by {BEST_JUDGES[judge]}, on these same prompts, "
        "so each that has several is a little flattered by the choice."
    )
    return page.table(head, rows) + page.paragraph(text)


def _arms_in_words(arms: Sequence[Mapping[str, Any]], shown: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{label_of(arm['series'])} at {arm['value']}: "
        + ", ".join(f"{title} {_number(key, arm.get(key))}" for key, (title, _) in shown.items())
        for arm in arms
    )


def _arms_table(arms: Sequence[Mapping[str, Any]], axis: str, shown: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{label_of(arm['series'])} at {arm['value']}",
            *(_number(key, arm.get(key)) for key in shown),
        )
        for arm in arms
    ]
    return page.table((axis, *(title for title, _ in shown.values())), rows)


def _number(key: str, point: Point) -> str:
    """A share in percent; any other number unchanged."""
    return with_ends(point, as_percent=key.startswith(("win_rate", "on ")))


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
            unit = "responses_sampled" if "responses_sampled" in known else "iteration"
            title, svg = "Reward and KL over training.", training_figure(curves, rows, unit)
            alt, reading = _ends(curves, rows), training_reading(curves)
            drawn.append(page.figure(svg, title, caption, alt, reading=reading))
    svg = overoptimisation_figure(curves, best)
    if svg:
        caption = (
            "Training raises the score, which stands for gold. Where they diverge, the policy "
            "exploits the reward model's mistakes. Best-of-n is drawn at its KL bound."
            if any("gold" in point for curve in curves.values() for point in curve)
            else "Training raises the score. Whether that is worth the KL, the score cannot say."
        )
        rows = [("score", "score"), ("gold", "gold"), ("kl", "KL")]
        alt = (
            _ends(curves, rows)
            + " "
            + "; ".join(
                f"best of {n}: KL {decimal(p.get('kl'))}, gold {decimal(p.get('gold'))}"
                for n, p in best.items()
            )
        )
        numbers, reading = _best_of_table(best), overoptimisation_reading(curves)
        drawn.append(page.figure(svg, "Over-optimisation.", caption, alt, numbers, reading=reading))
    return page.figures(*drawn)


def _best_of_table(best: Mapping[str, Mapping[str, Any]]) -> str:
    gold = ["Gold"] if any("gold" in point for point in best.values()) else []
    rows = [
        (
            f"Best of {n}",
            decimal(point.get("kl")),
            *(with_ends(point.get("gold"), as_percent=False) for _ in gold),
            with_ends(point.get("win_rate")),
        )
        for n, point in best.items()
    ]
    return page.table(("", "KL bound, nats", *gold, "Win rate"), rows) if rows else ""


def _ends(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[tuple[str, str]]
) -> str:
    """The start and end of each curve, in words."""
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
        caption = "Skills that training should leave as they are; further right is better."
        svg = panels_figure(panels)
        numbers, reading = by_model(panels), shares_reading(panels, "base")
        drawn.append(page.figure(svg, "Benchmarks.", caption, alt, numbers, reading=reading))
    if loss:
        alt = f"Pretraining loss: {describe(loss, as_percent=False)}"
        panels = {"Loss per token, nats": loss}
        caption = "On text like the pretraining data; lower is better. PPO-ptx should keep it low."
        svg = panels_figure(panels, percent=False)
        numbers = by_model(panels, as_percent=False)
        reading = loss_reading(loss)
        drawn.append(page.figure(svg, "Pretraining loss.", caption, alt, numbers, reading=reading))
    return page.figures(*drawn) + benchmark_table(results.get("benchmark") or {})


def _one_line(text: str) -> str:
    return " ".join(text.split())
