"""report.html from results.json: what was done, what came of it, and what to doubt.

    results = json.loads(Path("runs/demo/results.json").read_text())
    write_report(results, Path("runs/demo/report.html"))

Works from `results` alone, and leaves out, with a word at the end, what was not measured; so it
also serves a user's own evaluation. docs/evaluation.md lists the keys of results.json.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from understudy.core.run import write_atomic
from understudy.evaluation import page
from understudy.evaluation.figures import (
    MODELS,
    Point,
    Table,
    ends_of,
    in_order,
    label_of,
    overoptimisation_figure,
    panels_figure,
    size_figure,
    training_figure,
    value_of,
    win_rate_figure,
)

Results = Mapping[str, Any]

STAGES = {
    "prompts": "Users' prompts are cleaned of personal data, deduplicated, capped, split by user.",
    "screen": "Labelers are tested against researchers' answers; careless ones are turned away.",
    "demonstrate": "Labelers write the answers that they would want.",
    "sft": "The base model imitates the demonstrations.",
    "sample": "The SFT model answers each prompt several times.",
    "rank": "Labelers rank those answers, ties allowed.",
    "reward": "A reward model learns to predict the rankings.",
    "rl_init": "A second, shorter SFT with pretraining text mixed in: where PPO starts.",
    "ppo": "The policy is optimised against the reward model, held near its start by a KL penalty.",
    "ppo_ptx": "The same with the pretraining gradient added, against forgetting.",
    "evaluate": "Unseen users' prompts are answered by every model and judged blind.",
}
"""What each stage means in a line."""

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
    ("accuracy_training_labelers", "Accuracy on training labelers", "sft"),
    ("accuracy_heldout_labelers", "Accuracy on held-out labelers", "sft"),
    ("accuracy_gold", "Accuracy against the gold judge", "sft"),
    ("bayes_accuracy", "Best possible (Bayes), given the labelers' noise", "best-of-n"),
    ("labeler_agreement", "Training labelers with each other", "base"),
    ("heldout_agreement", "Held-out labelers with each other", "base"),
    ("length_only", "Rule that knows only length", "base"),
    ("chance", "Chance", "base"),
)

JUDGES = {
    "": "Held-out labelers",
    "held_out": "Held-out labelers",
    "training_labelers": "Training labelers",
    "training": "Training labelers",
    "researcher": "Researchers",
    "gold": "Gold judge",
    "reward_model": "Reward model",
}


def write_report(
    results: Results, out: Path, metrics: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> Path:
    """Write the page. `metrics`: metrics.jsonl of PPO runs by name, if there is no ppo_curve."""
    results = dict(results)
    if metrics and not results.get("ppo_curve"):
        results["ppo_curve"] = {name: curve_of(rows) for name, rows in metrics.items()}
    write_atomic(out, render(results))
    return out


def render(results: Results) -> str:
    """The page as text."""
    makers: dict[str, Callable[[Results], str]] = {
        "What was done": _done,
        "Preferred by whom, and how often": _wins,
        "Faults in the answers": _flags,
        "The reward model": _reward,
        "Optimising against it": _training,
        "The alignment tax": _tax,
        "Side by side": _examples,
        "What to doubt": _caveats,
        "Settings": _settings,
    }
    made = {title: make(results) for title, make in makers.items()}
    shown = {title: html for title, html in made.items() if html}
    missing = [title for title, html in made.items() if not html]
    sections = [page.section(_anchor(title), title, html) for title, html in shown.items()]
    if missing:
        text = "Not measured in this run, so left out: " + "; ".join(missing) + "."
        sections.append(page.paragraph(text, "soft"))
    title = str(results.get("title") or "What the feedback taught")
    return page.page(
        f"Understudy: {title}", _header(results, title, shown), sections, _foot(results)
    )


def curve_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A ppo_curve from rows of metrics.jsonl."""
    names = {"iteration": "step", "kl": "ppo/kl", "score": "ppo/score"}
    return [{key: row.get(name) for key, name in names.items()} for row in rows]


def win_tables(results: Results, parent: Results | None = None) -> dict[str, Table]:
    """Judge's name -> win rates, from the keys win_rates_vs_BASELINE and ..._GROUP."""
    found = results if parent is None else parent
    prefix = f"win_rates_vs_{results.get('baseline', 'sft')}"
    order = {key: place for place, key in enumerate(JUDGES)}
    groups = {
        key.removeprefix(prefix).removeprefix("_"): value
        for key, value in found.items()
        if key.startswith(prefix) and value
    }
    ordered = sorted(groups, key=lambda group: order.get(group, len(order)))
    return {JUDGES.get(group, group.replace("_", " ")): groups[group] for group in ordered}


def verdict(point: Point) -> str:
    """What a win rate's interval says about 50%, in words."""
    ends = ends_of(point)
    if ends is None:
        return "no interval"
    if ends[0] > 0.5:
        return "above 50% beyond the interval"
    return "below 50% beyond the interval" if ends[1] < 0.5 else "not told apart from 50%"


def describe(table: Table, *, as_percent: bool = True) -> str:
    """A table of models in words, for alt texts."""
    return "; ".join(
        f"{label_of(name)} {page.with_ends(table[name], as_percent=as_percent)}"
        for name in in_order(list(table))
    )


def _header(results: Results, title: str, shown: Mapping[str, str]) -> str:
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in shown)
    return (
        '<p class="brand">Understudy</p>'
        f"<h1>{escape(title)}</h1>"
        + page.paragraph(_lead(results), "lead")
        + _tiles(results)
        + f'<nav aria-label="Sections">{links}</nav>'
    )


def _lead(results: Results) -> str:
    baseline = label_of(str(results.get("baseline", "sft")))
    return (
        "Answers to prompts of users whom no training has seen, compared blind with those of the "
        f"{baseline} model. Bars around a value are 95% intervals clustered by prompt and user."
    )


def _tiles(results: Results) -> str:
    baseline = str(results.get("baseline", "sft"))
    tiles = []
    for judge, table in list(win_tables(results).items())[:3]:
        model = next((m for m in ("ppo_ptx", "ppo", *table) if m in table), None)
        if model is not None:
            what = f"{label_of(model)} preferred to {label_of(baseline)} by {_in_text(judge)}"
            note = f"{page.with_ends(table[model])}; {verdict(table[model])}"
            tiles.append(page.tile(page.percent(table[model]), what, note))
    reward = results.get("reward_model") or {}
    if value_of(reward.get("accuracy_heldout_labelers")) is not None:
        note = "they agree with each other at " + page.percent(reward.get("heldout_agreement"))
        number = page.percent(reward["accuracy_heldout_labelers"])
        tiles.append(page.tile(number, "Reward model agrees with held-out labelers", note))
    minutes = results.get("minutes") or {}
    if minutes:
        total = results.get("wall_minutes") or sum(float(value) for value in minutes.values())
        tiles.append(page.tile(f"{total:.1f} min", "From the first prompt to this page"))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _done(results: Results) -> str:
    minutes = {name: float(value) for name, value in (results.get("minutes") or {}).items()}
    meanings = {**STAGES, **(results.get("stages") or {})}
    longest = max(minutes.values(), default=1.0) or 1.0
    items = "".join(
        f"<li><div><b>{escape(name.replace('_', ' '))}</b> "
        f'<span class="soft">{escape(str(meanings.get(name, "")))}</span></div>'
        f'<span class="minutes">{value:.1f} min</span>{page.bar(value / longest)}</li>'
        for name, value in minutes.items()
    )
    stages = f'<ol class="stages">{items}</ol>' if items else ""
    data = results.get("data") or {}
    rows = [(str(name).replace("_", " "), page.setting(value)) for name, value in data.items()]
    counts = page.table(("Data", "Number"), rows) if rows else ""
    return stages + _screening(results.get("screening") or {}) + counts


def _screening(screening: Mapping[str, Any]) -> str:
    candidates = screening.get("candidates") or []
    if not candidates:
        return ""
    failed = [str(row["id"]) for row in candidates if row.get("failed")]
    text = f"Of {len(candidates)} candidate labelers {len(candidates) - len(failed)} passed"
    turned = f"; turned away: {', '.join(failed)}." if failed else "."
    return page.paragraph(text + " the screening" + turned)


def _wins(results: Results) -> str:
    baseline = label_of(str(results.get("baseline", "sft")))
    drawn = []
    for style, tables in (
        ("sampled at temperature 1", win_tables(results)),
        ("greedy", win_tables(results, results.get("greedy") or {})),
    ):
        if tables:
            caption = (
                f"How often each model's answer is preferred to {baseline}'s, ties half. "
                "Dashed: 50%, no preference." + _best_of_note(results)
            )
            alt = f"Win rates against {baseline}, {style}. " + ". ".join(
                f"{judge}: {describe(table)}" for judge, table in tables.items()
            )
            title = f"Win rate against {baseline}, {style}."
            drawn.append(
                page.figure(win_rate_figure(tables), title, caption, alt, _by_model(tables))
            )
    sizes = results.get("win_rates_by_size") or {}
    if sizes:
        alt = ". ".join(f"{size}: {describe(table)}" for size, table in sizes.items())
        caption = "Is a small model trained on feedback preferred to a large one that is not?"
        title = f"Win rate against {baseline} by size."
        drawn.append(page.figure(size_figure(sizes), title, caption, alt, _by_model(sizes)))
    means = {
        title: results[key]
        for key, title in (("gold", "Gold score"), ("likert", "Likert, 1 to 7"))
        if results.get(key)
    }
    if means:
        alt = ". ".join(f"{name}: {describe(t, as_percent=False)}" for name, t in means.items())
        numbers = _by_model(means, as_percent=False)
        title, caption = "Quality of each answer on its own.", "Mean over the same prompts."
        drawn.append(page.figure(panels_figure(means, False), title, caption, alt, numbers))
    return _null_check(results) + page.figures(*drawn) if drawn else ""


def _best_of_note(results: Results) -> str:
    sizes = [int(n) for n in results.get("best_of_n") or {}]
    return f" Best-of-n: of {max(sizes)}, by the reward model." if sizes else ""


def _null_check(results: Results) -> str:
    null = f"{results.get('baseline', 'sft')}_null"
    found = [
        f"{page.with_ends(table[null])} by {_in_text(judge)}"
        for judge, table in win_tables(results).items()
        if null in table
    ]
    if not found:
        return ""
    first = results.get("first_shown")
    shown = f" The answer shown first wins {page.with_ends(first)}." if first else ""
    return page.paragraph(
        "Null check: a second sample of the baseline against the first should win half the time. "
        "It wins " + "; ".join(found) + "." + shown,
        "soft",
    )


def _flags(results: Results) -> str:
    flags: Mapping[str, Table] = results.get("flags") or {}
    if not flags:
        return ""
    every = _transposed(flags, list(dict.fromkeys(name for t in flags.values() for name in t)))
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
    numbers = _by_model({name.replace("_", " "): table for name, table in every.items()})
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


def _reward(results: Results) -> str:
    reward = results.get("reward_model") or {}
    rows = [
        (name, page.with_ends(reward[key]) + page.bar(value_of(reward[key]) or 0.0, colour))
        for key, name, colour in REWARD_ROWS
        if value_of(reward.get(key)) is not None
    ]
    if not rows and not reward.get("gate"):
        return ""
    text = (
        "How often the higher score goes to the answer that was preferred, on prompts of unseen "
        "users, ties left out. Labelers disagree among themselves, so 100% is out of reach."
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


def _training(results: Results) -> str:
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


def _tax(results: Results) -> str:
    benchmarks: Mapping[str, Table] = results.get("benchmarks") or {}
    loss: Table = results.get("pretraining_loss") or {}
    drawn = []
    if benchmarks:
        names = list(dict.fromkeys(name for table in benchmarks.values() for name in table))
        panels = {
            name.replace("_", " ").capitalize(): table
            for name, table in _transposed(benchmarks, names).items()
        }
        alt = ". ".join(f"{title}: {describe(table)}" for title, table in panels.items())
        caption = "Skills of the base model that nobody asked to change; further right is better."
        svg = panels_figure(panels)
        drawn.append(page.figure(svg, "Benchmarks.", caption, alt, _by_model(panels)))
    if loss:
        alt = f"Pretraining loss: {describe(loss, as_percent=False)}"
        panels = {"Loss per token, nats": loss}
        caption = "On text like the base model's; lower is better. PPO-ptx is there to keep it low."
        svg = panels_figure(panels, percent=False)
        numbers = _by_model(panels, as_percent=False)
        drawn.append(page.figure(svg, "Pretraining loss.", caption, alt, numbers))
    return page.figures(*drawn)


def _examples(results: Results) -> str:
    cards = []
    for example in results.get("examples") or []:
        answers = "".join(
            _answer(model, example["answers"][model])
            for model in in_order(list(example["answers"]))
        )
        use_case = str(example.get("use_case") or "prompt").replace("_", " ")
        cards.append(
            f'<article class="example"><h3>{escape(use_case)}</h3>'
            f'<p class="prompt">{escape(_conversation(example["prompt"]))}</p>'
            f'<div class="answers">{answers}</div></article>'
        )
    return "".join(cards)


def _answer(model: str, answer: Mapping[str, Any]) -> str:
    gold = answer.get("gold")
    score = "" if gold is None else f"<span>gold {page.decimal(gold)}</span>"
    colour = model.replace("_", "-") if model in MODELS else "line"
    text = str(answer.get("text", "")).strip() or "(no words)"
    return (
        f'<div class="answer" style="--colour:var(--{colour})"><h4>{escape(label_of(model))}{score}'
        f"</h4><p>{escape(text)}</p></div>"
    )


def _conversation(prompt: Any) -> str:
    """A prompt as text: itself, or a line per turn."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def _caveats(results: Results) -> str:
    caveats = results.get("caveats") or []
    items = "".join(f"<li>{escape(str(text))}</li>" for text in caveats)
    return f"<ul>{items}</ul>" if items else ""


def _settings(results: Results) -> str:
    parts = []
    for stage, values in (results.get("settings") or {}).items():
        flat = values if isinstance(values, Mapping) else {"value": values}
        rows = [(str(key), page.setting(value)) for key, value in flat.items()]
        name = escape(str(stage).replace("_", " "))
        parts.append(f"<details><summary>{name}</summary>{page.table(('', ''), rows)}</details>")
    return "".join(parts)


def _foot(results: Results) -> str:
    known = [
        f"{name} {results[key]}"
        for key, name in (("seed", "seed"), ("code_version", "code"))
        if results.get(key) is not None
    ]
    return page.paragraph(
        "Made by understudy from results.json" + "".join(f"; {k}" for k in known) + "."
    )


def _by_model(tables: Mapping[str, Table], *, as_percent: bool = True) -> str:
    """Rows are models, columns are tables."""
    models = in_order(list(dict.fromkeys(name for table in tables.values() for name in table)))
    rows = [
        (
            label_of(model),
            *(page.with_ends(table.get(model), as_percent=as_percent) for table in tables.values()),
        )
        for model in models
    ]
    return page.table(("", *tables), rows)


def _transposed(tables: Mapping[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """name -> model -> point from model -> name -> point."""
    return {
        name: {model: table[name] for model, table in tables.items() if name in table}
        for name in names
    }


def _in_text(judge: str) -> str:
    """A judge's name within a sentence."""
    lowered = judge[:1].lower() + judge[1:]
    return f"the {lowered}" if judge in ("Gold judge", "Reward model") else lowered


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _anchor(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
