"""report.html from results.json: the findings first, then what to doubt and how it was made.

    results = json.loads(Path("runs/demo/results.json").read_text())
    write_report(results, Path("runs/demo/report.html"))

The page needs only `results`. Sections without measurements are omitted and listed at the end, so
it also serves a user's own evaluation. docs/evaluation.md lists the keys of results.json."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import (
    MODELS,
    in_order,
    label_of,
    panels_figure,
    size_figure,
    win_rate_figure,
)
from understudy.evaluation.judge_words import model_judge
from understudy.evaluation.points import decimal, percent, value_of, with_ends
from understudy.evaluation.readings import means_reading, size_reading, wins_reading
from understudy.evaluation.sections import (
    ablation_section,
    explanations_section,
    flags_section,
    reward_section,
    tax_section,
    training_section,
)
from understudy.evaluation.study_sections import study_section
from understudy.evaluation.tables import (
    SCORERS,
    by_model,
    describe,
    in_text,
    is_model,
    verdict,
    win_tables,
)
from understudy.training.run import write_atomic

Results = Mapping[str, Any]

STAGES = {
    "prompts": "Users' prompts are cleaned of personal data, deduplicated, capped, split by user.",
    "screen": "Labelers are tested against researchers' labels; careless ones are rejected.",
    "demonstrate": "Labelers write the responses that they would want.",
    "sft": "The base model imitates the demonstrations.",
    "sample": "The SFT model responds to each prompt several times.",
    "rank": "Labelers rank those responses, ties allowed.",
    "reward": "A reward model learns to predict the rankings.",
    "rl_init": "A second, shorter SFT with pretraining text mixed in; PPO starts from it.",
    "ppo": "The policy is optimised against the reward model, held near its start by a KL penalty.",
    "ppo_ptx": "The same with the pretraining gradient added, against forgetting.",
    "evaluate": "Every model responds to unseen users' prompts, and judges compare blind.",
}
"""Each stage in a line."""

ABLATION = "One setting at a time"
STUDY = "What was found"
MEANS = {
    "gold": "Gold score",
    "likert": "Likert, 1 to 7",
    "score_reward_model": "Reward model's score",
    "score_second_reward_model": "Second reward model's",
}
"""Keys of results.json with a mean per model, and their titles."""


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
        ABLATION: ablation_section,
        STUDY: study_section,
        "Head to head": _wins,
        "What else could explain it": explanations_section,
        "Faults in the responses": flags_section,
        "The reward model": reward_section,
        "Optimising against it": training_section,
        "The alignment tax": tax_section,
        "Side by side": _examples,
        "What to doubt": _caveats,
        "What was done": _done,
        "Settings": _settings,
    }
    made = {title: make(results) for title, make in makers.items()}
    shown = {title: html for title, html in made.items() if html}
    missing = [title for title, html in made.items() if not html and title not in (ABLATION, STUDY)]
    if ABLATION in shown or STUDY in shown:  # these measure only what they show
        missing = []
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
    if results.get("lead"):
        return f"{results['lead']} {results.get('bars', '')}".strip()
    bars = results.get(
        "bars",
        "Bars are 95% intervals clustered by prompt and user: they cover other users and prompts. "
        "Training noise is not in them: another seed moves every value.",
    )
    baseline = label_of(str(results.get("baseline", "sft")))
    users = {
        "unseen": "prompts of users unseen in training",
        "test_split": "prompts of the test split, which shares no user with the train split",
    }.get(str(results.get("users")), "the given prompts (whether training saw them is not known)")
    judges = {"Held-out labelers"} if results.get("ablation") else set(win_tables(results))
    people = [judge for judge in judges if not is_model(judge)]
    how = "compared blind with" if people else "compared with"
    said = "" if people else " by models only: no person has judged them"
    return (
        f"Responses to {users}, {how} those of the {baseline} model{said if judges else ''}. {bars}"
    )


def _tiles(results: Results) -> str:
    baseline = str(results.get("baseline", "sft"))
    tiles = []
    for judge, table in list(win_tables(results).items())[:3]:
        model = next((m for m in ("ppo_ptx", "ppo", *table) if m in table), None)
        if model is not None:
            scored = judge in SCORERS
            verb = "scored above" if scored else "preferred to"
            what = f"{label_of(model)} {verb} {label_of(baseline)} by {in_text(judge)}"
            note = f"{with_ends(table[model])}; {verdict(table[model])}"
            note += "; a score, not a person's preference" if scored else ""
            note += "" if scored or not is_model(judge) else "; a model's verdicts, not people's"
            tiles.append(page.tile(percent(table[model]), what, note))
    reward = results.get("reward_model") or {}
    if value_of(reward.get("accuracy_heldout_labelers")) is not None:
        note = "they agree with each other on " + percent(reward.get("heldout_agreement"))
        number = percent(reward["accuracy_heldout_labelers"])
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
    passed = f"{len(candidates) - len(failed)} of {len(candidates)} candidate labelers passed"
    rejected = f"; rejected: {', '.join(failed)}." if failed else "."
    return page.paragraph(passed + " the screening" + rejected)


def _wins(results: Results) -> str:
    baseline = label_of(str(results.get("baseline", "sft")))
    temperature = results.get("temperature")
    sampled = "sampled" if temperature is None else f"sampled at temperature {temperature:g}"
    drawn = []
    for style, tables in (
        (sampled, win_tables(results)),
        ("greedy", win_tables(results, results.get("greedy") or {})),
    ):
        if tables:
            scored = set(tables) <= {*SCORERS}
            verb = "scores above" if scored else "is preferred to"
            caption = (
                f"How often each model's response {verb} {baseline}'s; a tie counts half. "
                f"Dashed: 50%, no {'difference' if scored else 'preference'}."
                + _best_of_note(results)
            )
            alt = f"Win rates against {baseline}, {style}. " + ". ".join(
                f"{judge}: {describe(table)}" for judge, table in tables.items()
            )
            title = f"Win rate against {baseline}, {style}."
            drawn.append(
                page.figure(
                    win_rate_figure(tables),
                    title,
                    caption,
                    alt,
                    by_model(tables),
                    reading=wins_reading(tables, baseline, scored=scored),
                )
            )
    sizes = results.get("win_rates_by_size") or {}
    if sizes:
        alt = ". ".join(f"{size}: {describe(table)}" for size, table in sizes.items())
        caption = "Is a small model trained on feedback preferred to a large one that is not?"
        title = f"Win rate against {baseline} by size."
        numbers, reading = by_model(sizes), size_reading(sizes, baseline)
        drawn.append(page.figure(size_figure(sizes), title, caption, alt, numbers, reading=reading))
    means = {title: results[key] for key, title in MEANS.items() if results.get(key)}
    if means:
        alt = ". ".join(f"{name}: {describe(t, as_percent=False)}" for name, t in means.items())
        numbers = by_model(means, as_percent=False)
        title, caption = "Quality of each response on its own.", "Mean over the same prompts."
        svg, reading = panels_figure(means, False), means_reading(means)
        drawn.append(page.figure(svg, title, caption, alt, numbers, reading=reading))
    if not drawn:
        return ""
    before = _null_check(results) + model_judge(results)
    return before + page.figures(*drawn) + _lengths(results)


def _lengths(results: Results) -> str:
    """How long the responses are, to expose wins by length or brevity; responses that were cut have
    the full length."""
    shapes = results.get("answers") or {}
    rows = [
        (
            label_of(model),
            with_ends(shapes[model].get("words"), as_percent=False),
            with_ends(shapes[model].get("words_if_ended"), as_percent=False),
            with_ends(shapes[model].get("ended")),
        )
        for model in in_order(list(shapes))
    ]
    columns = ("", "Words per response", "If it ended by itself", "Ended by itself")
    return page.table(columns, rows) if rows else ""


def _best_of_note(results: Results) -> str:
    sizes = [int(n) for n in results.get("best_of_n") or {}]
    return f" Best-of-n: of {max(sizes)}, by the reward model." if sizes else ""


def _null_check(results: Results) -> str:
    null = f"{results.get('baseline', 'sft')}_null"
    found = [
        f"{with_ends(table[null])} by {in_text(judge)}"
        for judge, table in win_tables(results).items()
        if null in table
    ]
    if not found:
        return ""
    first = results.get("first_shown")
    shown = f" The response shown first wins {with_ends(first)}." if first else ""
    return page.paragraph(
        "Null check: a second sample of the baseline against the first should win half the time. "
        "It wins " + "; ".join(found) + "." + shown,
        "soft",
    )


def _examples(results: Results) -> str:
    cards = []
    for example in results.get("examples") or []:
        responses = "".join(
            _response(model, example["answers"][model])
            for model in in_order(list(example["answers"]))
        )
        title = str(example.get("use_case") or "prompt").replace("_", " ")
        title += f" ({example['why']})" if example.get("why") else ""
        cards.append(
            f'<article class="example"><h3>{escape(title)}</h3>'
            f'<p class="prompt">{escape(_conversation(example["prompt"]))}</p>'
            f'<div class="responses">{responses}</div></article>'
        )
    if any(example.get("why") for example in results.get("examples") or []):
        text = (
            "Chosen by their difference from the baseline: in turn the largest gain, the largest "
            "loss and a typical one."
        )
        cards.insert(0, page.paragraph(text, "soft"))
    return "".join(cards)


def _response(model: str, response: Mapping[str, Any]) -> str:
    gold = response.get("gold")
    score = "" if gold is None else f"<span>gold {decimal(gold)}</span>"
    colour = model.replace("_", "-") if model in MODELS else "line"
    text = str(response.get("text", "")).strip() or "(no words)"
    return (
        f'<div class="response" style="--colour:var(--{colour})">'
        f"<h4>{escape(label_of(model))}{score}</h4><p>{escape(text)}</p></div>"
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


def _anchor(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
