"""The data of `understudy real`: rankings split by conversation, text, a benchmark.

A conversation is all pairs that begin with the same human turn. No conversation is in two parts, so
no model is measured on conversations that it trained on.
"""

import bz2
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.loop.stage_call import StageCall
from understudy.records import (
    Demonstration,
    Prompt,
    Ranking,
    prompt_text,
    write_records,
)
from understudy.records.files import iter_rows
from understudy.records.reading import Found, read_found

Groups = list[tuple[str, list[Ranking]]]


def prepare(call: StageCall) -> None:
    """Inputs: rankings, text and benchmark as files; without them, config has their hub names."""
    config = call.config
    found = Found(lenient=True)
    source = _source(call, "rankings")
    rankings = [record for _, record in read_found(source, Ranking, found)]
    groups = by_conversation([r for r in rankings if is_short(r, config)], config["seed"])
    held_out, rest = take(groups, config["num_held_out"])
    first, rest = take(rest, config["num_rankings"])
    second, _ = take(rest, config["num_second_rankings"])
    if not (held_out and first and second):
        raise ValueError(
            f"{source} has {sum(len(rows) for _, rows in groups)} short pairs; the recipe needs "
            "num_held_out + num_rankings + num_second_rankings of them"
        )
    trained_on = balanced if config["balance_lengths"] else pairs
    if not (trained_on(first) and trained_on(second)):
        raise ValueError(
            f"{source}: in all short pairs people preferred the longer response, or the shorter "
            "one; set balance_lengths = false in the recipe"
        )
    num_test, num_eval = config["num_test_prompts"], config["num_eval_prompts"]
    asked = prompts_of(held_out, "test")
    test, watched = asked[:num_test], asked[num_test : num_test + num_eval]
    texts = list(read_texts(_source(call, "text"), config["max_toxicity"]))
    kept = config["num_held_out_texts"]
    files: dict[str, Sequence[Any]] = {
        "demonstrations": preferred(first)[: config["num_demonstrations"]],
        "valid_demonstrations": preferred(held_out)[: config["num_valid_demonstrations"]],
        "rankings": trained_on(first),
        "second_rankings": trained_on(second),
        "held_out": pairs(held_out),
        "prompts": prompts_of(first, "train"),
        "eval_prompts": watched,
        "test_prompts": test,
    }
    for name, records in files.items():
        write_records(call.out / f"{name}.jsonl", records)
    _write(call.out / "held_out_text.jsonl", [{"text": text} for text in texts[:kept]])
    mixed = texts[kept : kept + config["num_texts"]]
    _write(call.out / "text.jsonl", [{"text": text} for text in mixed])
    items = list(read_items(_source(call, "benchmark")))
    chosen = evenly(items, config["num_benchmark_items"])
    (call.out / "items").mkdir(exist_ok=True)
    _write(call.out / "items" / "hellaswag.jsonl", chosen)
    counts = {name.replace("_", " "): len(records) for name, records in files.items()}
    counts |= {"texts": len(mixed), "benchmark items": len(chosen), "pairs in all": len(rankings)}
    counts |= {"rows that are no pair": len(found.bad)}
    (call.out / "counts.json").write_text(json.dumps(counts))


def _source(call: StageCall, name: str) -> Path | str:
    return call.path(name) if call.paths(name) else str(call.config[name])


def is_short(ranking: Ranking, config: Mapping[str, Any]) -> bool:
    """Whether a pair is within the recipe's lengths, and has two different responses."""
    longest = max(len(text) for text in ranking.responses)
    return (
        len(prompt_text(ranking.prompt)) <= config["max_prompt_characters"]
        and 0 < longest <= config["max_answer_characters"]
        and bool(ranking.pairs())
        and all(text.strip() for text in ranking.responses)
    )


def by_conversation(rankings: Sequence[Ranking], seed: int) -> Groups:
    """(first words, pairs) of each conversation, in an order determined by seed and words."""
    groups: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        turns = ranking.prompt
        opening = turns if isinstance(turns, str) else turns[0].content
        groups.setdefault(opening, []).append(ranking)
    return sorted(groups.items(), key=lambda group: _hash(f"{seed} {group[0]}"))


def take(groups: Groups, number: int) -> tuple[Groups, Groups]:
    """The first whole conversations that hold about `number` pairs, and the others."""
    count = 0
    for place, (_, rows) in enumerate(groups):
        if count >= number:
            return groups[:place], groups[place:]
        count += len(rows)
    return groups, []


def pairs(groups: Groups) -> list[Ranking]:
    """All pairs of the conversations."""
    return [ranking for _, rows in groups for ranking in rows]


def balanced(groups: Groups) -> list[Ranking]:
    """Pairs in which the preferred response is as often the longer as the shorter one.

    This holds separately for differences of 1, 2 or 3, 4 to 7, ... words, so a reward model cannot
    learn from them that length by itself is good or bad. Surplus pairs are left out.
    """
    by_size: dict[int, dict[bool, int]] = {}
    rows = [(ranking, _words_more(ranking)) for ranking in pairs(groups)]
    for _, more in rows:
        counts = by_size.setdefault(abs(more).bit_length(), {True: 0, False: 0})
        counts[more > 0] += 1
    kept = []
    left = {
        size: {sign: min(counts.values()) for sign in counts} for size, counts in by_size.items()
    }
    for ranking, more in rows:
        room = left[abs(more).bit_length()]
        if more == 0:
            kept.append(ranking)
        elif room[more > 0]:
            room[more > 0] -= 1
            kept.append(ranking)
    return kept


def _words_more(ranking: Ranking) -> int:
    """Words in a ranking's first response minus words in its last."""
    best, worst = (ranking.responses[tier[0]] for tier in (ranking.tiers[0], ranking.tiers[-1]))
    return len(best.split()) - len(worst.split())


def preferred(groups: Groups) -> list[Demonstration]:
    """The preferred response of each pair as a demonstration."""
    return [
        Demonstration(
            id=f"preferred-{ranking.id}",
            prompt_id=ranking.prompt_id,
            prompt=ranking.prompt,
            response=ranking.responses[ranking.tiers[0][0]],
            labeler_id=ranking.labeler_id,
        )
        for ranking in pairs(groups)
    ]


def prompts_of(groups: Groups, split: Any) -> list[Prompt]:
    """A prompt per conversation, each with its own user."""
    return [
        Prompt(
            id=rows[0].prompt_id,
            prompt=rows[0].prompt,
            user_id=f"user-{_hash(opening)[:12]}",
            split=split,
        )
        for opening, rows in groups
    ]


def read_texts(source: Path | str, max_toxicity: float) -> Iterator[str]:
    """Sentences of RealToxicityPrompts, prompt and continuation joined, that are not toxic."""
    for place, row in iter_rows(source):
        try:
            parts = [row["prompt"], row["continuation"]]
            toxic = max(part["toxicity"] or 0.0 for part in parts)
            text = "".join(part["text"] for part in parts)
        except (KeyError, TypeError):
            raise ValueError(
                f"{source} {place}: needs prompt and continuation, each with text and toxicity"
            ) from None
        if toxic <= max_toxicity:
            yield text


def read_items(source: Path | str) -> Iterator[dict[str, Any]]:
    """HellaSwag as benchmark items: the hub's rows, or the text file of six lines per item."""
    if str(source).endswith(".bz2"):
        lines = bz2.decompress(Path(source).read_bytes()).decode("utf-8").splitlines()
        for start in range(0, len(lines) - 5, 6):
            context, label, *endings = lines[start : start + 6]
            yield _item(context, endings, label)
        return
    for place, row in iter_rows(source):
        if not {"ctx", "endings", "label"} <= set(row):
            raise ValueError(f"{source} {place}: needs ctx, endings and label")
        yield _item(f"{row['activity_label']}: {row['ctx']}", row["endings"], row["label"])


def _item(context: str, endings: Sequence[str], label: str | int) -> dict[str, Any]:
    choices = [f" {ending.strip()}" for ending in endings]
    return {"question": context.strip(), "choices": choices, "answer": int(label)}


def evenly(items: Sequence[Any], number: int) -> list[Any]:
    """`number` of the items, evenly spaced."""
    number = min(number, len(items))
    return [items[i * len(items) // number] for i in range(number)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
