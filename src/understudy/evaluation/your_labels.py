"""The report's section about the user's own rankings: `understudy demo --label 10`.

It is inserted into the finished page, so it changes no byte of a demo without `--label`.
"""

from collections.abc import Mapping
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.points import value_of, with_ends
from understudy.records.convert import many

ANCHOR, TITLE = "your-rankings", "Your rankings"
BEFORE = "the-reward-model"
"""The section before which this one is inserted."""
ROWS = (
    ("agree_gold", "The gold judge", "sft"),
    ("agree_training_labelers", "Training labelers who ranked the same responses", "base"),
    ("agree_reward_model", "The reward model, which was trained on your rankings too", "best-of-n"),
)
"""Key in `your_labels`, name, colour."""


def with_your_labels(html: str, yours: Mapping[str, Any]) -> str:
    """The report with the section before the one on the reward model, or else at the end."""
    made = page.section(ANCHOR, TITLE, your_labels_section(yours))
    link = f'<a href="#{ANCHOR}">{TITLE}</a>'
    for mark, new in (
        ((f'<section id="{BEFORE}">', "\n</main>"), f"{made}\n"),
        ((f'<a href="#{BEFORE}">', "</nav>"), link),
    ):
        place = next(one for one in mark if one in html)
        html = html.replace(place, new + place, 1)
    return html


def your_labels_section(yours: Mapping[str, Any]) -> str:
    """How much the user ranked, and how often each judge agrees with it."""
    text = (
        f"You ranked the responses to {many(yours['rankings'], 'prompt')}, which makes "
        f"{many(yours['pairs'], 'pair')} and {many(yours['ties'], 'tie')}; the reward model "
        "learned from them too. How often others prefer the response of a pair that you prefer, "
        "ties left out:"
    )
    rows = [(name, _cell(yours[key], colour)) for key, name, colour in ROWS]
    return page.paragraph(text) + page.table(("", "Pairs agreed on"), rows, raw=True)


def _cell(point: Mapping[str, Any], colour: str) -> str:
    if value_of(point) is None:
        return page.paragraph(f"Undefined: {point['undefined']}.")
    pairs = f" pairs of {point['num_prompts']} prompts"
    return with_ends(point) + pairs + page.bar(value_of(point) or 0.0, colour)
