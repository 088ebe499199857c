"""Chooses the prompts that the report shows with every model's response: the most telling ones.

It takes, in turn, the prompt with the trained model's largest gain over the baseline, the one with
its largest loss, and the one nearest to the median, so that readers see bad cases too. If nothing
was judged, it takes the first prompts of each use case in turn."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from understudy.records import Comparison, Prompt, Response, prompt_text

Score = Callable[[Prompt, Response], float]


def examples(
    prompts: Sequence[Prompt],
    responses: Iterable[Response],
    gains: Mapping[str, float],
    number: int,
    *,
    by: str = "",
    gold: Score | None = None,
) -> list[dict[str, Any]]:
    """Rows of results.json's `examples`: prompt, use case, why it is shown, every model's first
    response. `gains`: prompt id -> gain over the baseline, as judged by `by`."""
    of_prompt: dict[str, dict[str, Response]] = defaultdict(dict)
    for response in responses:
        of_prompt[response.prompt_id].setdefault(response.model, response)
    by_id = {prompt.id: prompt for prompt in prompts if prompt.id in of_prompt}
    known = {key: gain for key, gain in gains.items() if key in by_id}
    if known:
        chosen = [(by_id[key], f"{why}: {known[key]:+.2f} by {by}") for key, why in telling(known)]
    else:
        chosen = [(prompt, "") for prompt in varied(list(by_id.values()), number)]
    return [
        {
            "prompt": prompt_text(prompt.prompt),
            "use_case": prompt.use_case,
            "why": why,
            "answers": {
                model: {
                    "text": response.response,
                    "gold": None if gold is None else gold(prompt, response),
                }
                for model, response in of_prompt[prompt.id].items()
            },
        }
        for prompt, why in chosen[:number]
    ]


def telling(gains: Mapping[str, float]) -> list[tuple[str, str]]:
    """(prompt id, why) of all prompts: largest gain, largest loss, a typical one, and so on.

    >>> telling({"a": -2.0, "b": 0.5, "c": 3.0})
    [('c', 'largest gain'), ('a', 'largest loss'), ('b', 'typical')]
    """
    middle = median(gains.values())
    left = sorted(gains, key=lambda key: (-gains[key], key))
    chosen: list[tuple[str, str]] = []
    while left:
        word = "largest" if not chosen else "large"
        turn = len(chosen) % 3
        if turn == 0:
            key, why = left[0], f"{word} gain" if gains[left[0]] > 0 else "smallest loss"
        elif turn == 1:
            word = "largest" if len(chosen) == 1 else "large"
            key, why = left[-1], f"{word} loss" if gains[left[-1]] < 0 else "smallest gain"
        else:
            key = min(left, key=lambda key: (abs(gains[key] - middle), key))
            why = "typical"
        left.remove(key)
        chosen.append((key, why))
    return chosen


def trained_model(models: Iterable[str], baseline: str) -> str | None:
    """The model whose gain counts: PPO-ptx, else PPO, else the last one besides the baseline."""
    others = [model for model in models if model not in (baseline, f"{baseline}_null")]
    known = [model for model in ("ppo_ptx", "ppo") if model in others]
    return next(iter([*known, *reversed(others)]), None)


def gains_by_score(
    prompts: Sequence[Prompt], responses: Iterable[Response], score: Score, baseline: str
) -> dict[str, float]:
    """Prompt id -> mean score of the trained model's responses minus the baseline's."""
    by_id = {prompt.id: prompt for prompt in prompts}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rows = list(responses)
    trained = trained_model(dict.fromkeys(response.model for response in rows), baseline)
    for response in rows:
        if response.model in (trained, baseline) and response.prompt_id in by_id:
            scored = score(by_id[response.prompt_id], response)
            found[response.prompt_id][response.model].append(scored)
    return {
        key: fmean(scores[trained]) - fmean(scores[baseline])
        for key, scores in found.items()
        if trained is not None and len(scores) == 2
    }


def gains_by_people(comparisons: Iterable[Comparison], baseline: str) -> dict[str, float]:
    """Prompt id -> share of the trained model's wins over the baseline minus one half."""
    rows = list(comparisons)
    models = dict.fromkeys(m for c in rows for m in (c.first_model, c.second_model) if m)
    trained = trained_model(models, baseline)
    wins: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if {row.first_model, row.second_model} == {trained, baseline}:
            won = "first" if row.first_model == trained else "second"
            share = 0.5 if row.preferred == "tie" else float(row.preferred == won)
            wins[row.prompt_id].append(share - 0.5)
    return {key: fmean(shares) for key, shares in wins.items()}


def varied(prompts: Sequence[Prompt], number: int) -> list[Prompt]:
    """`number` prompts, taken from the use cases in turn."""
    queues: dict[str | None, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        queues[prompt.use_case].append(prompt)
    turns = [
        (place, order, p) for order, q in enumerate(queues.values()) for place, p in enumerate(q)
    ]
    return [prompt for _, _, prompt in sorted(turns, key=lambda turn: turn[:2])[:number]]
