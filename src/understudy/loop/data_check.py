"""What a file of data is, before a model is trained on it: format, counts, lengths, what is cut,
and the tokens that the loss counts.

The encoding, the limits and the loss mask are those of the trainers themselves.
"""

import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from understudy.records import Demonstration, Prompt, Ranking, RecordError
from understudy.records.convert import Json
from understudy.records.io import iter_rows
from understudy.records.schema import prompt_text
from understudy.records.shapes import DEMONSTRATION_SHAPES, RANKING_SHAPES, shape_of

_MOST_BAD_ROWS = 5
"""Bad rows that are named; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCheckConfig:
    """Say what is in a file of training data and what a trainer would make of it."""

    data: Positional[Path]
    """.jsonl, .parquet or .txt file, or a data set: ORG/NAME, ORG/NAME@CONFIG#SPLIT."""
    model: str | None = None
    """Model whose tokenizer and context are used; without one, lengths are in words."""
    max_prompt_tokens: int = 1024
    """The trainer's limit; rows with a longer prompt are left out (C)."""
    max_response_tokens: int = 1024
    """The trainer's limit; longer responses are cut (C)."""
    examples: int = 2
    """Examples shown with the tokens that the loss counts; needs `model`."""
    color: Literal["auto", "always", "never"] = "auto"
    """Whether those tokens are shown in colour; "auto" on a terminal."""

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise ValueError(f"examples is {self.examples}; it must be 0 or more")
        for name in ("max_prompt_tokens", "max_response_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(slots=True)
class Contents:
    """What a file holds."""

    shapes: Counter[str] = field(default_factory=Counter)
    """Rows by shape."""
    records: list[Any] = field(default_factory=list)
    """The rows as demonstrations, rankings, prompts or text."""
    bad: list[str] = field(default_factory=list)
    """What is wrong with each bad row, file and line included."""

    def of(self, kind: type) -> list[Any]:
        """The records of one kind."""
        return [record for record in self.records if isinstance(record, kind)]


def check_data(config: DataCheckConfig) -> None:
    """Print the findings; ValueError at the end if rows are bad, so that scripts notice."""
    contents = read_contents(config.data)
    print(f"{config.data}: {_listed(contents.shapes)}")
    for line in [*_counts(contents), *_bad_lines(contents)]:
        print(f"  {line}")
    if config.model is None:
        for line in _word_lengths(contents):
            print(f"  {line}")
        print("  give --model to see tokens, what is cut, and the loss mask")
    else:
        _check_with_model(config, contents)
    if contents.bad:
        raise ValueError(f"{config.data}: {len(contents.bad)} rows cannot be read; see above")


def read_contents(source: Path) -> Contents:
    """Every row of a source, bad ones set aside instead of raised."""
    contents = Contents()
    if source.suffix == ".txt":
        from understudy.core.text import read_text

        contents.records = list(read_text(source))
        contents.shapes["plain text"] = len(contents.records)
        return contents
    for place, row in iter_rows(source):
        shape = shape_of(row)
        contents.shapes[shape or "an unknown shape"] += 1
        try:
            contents.records.append(_record(shape, row))
        except RecordError as error:
            contents.bad.append(f"{place}: {error}")
    if not contents.shapes:
        raise ValueError(f"{source} has no rows")
    return contents


def _record(shape: str | None, row: Json) -> Any:
    if shape in RANKING_SHAPES:
        return Ranking.from_json(row)
    if shape in DEMONSTRATION_SHAPES:
        return Demonstration.from_json(row)
    if shape == "prompts":
        return Prompt.from_json(row)
    if shape == "plain text" and isinstance(row["text"], str):
        return row["text"]
    keys = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)[:40]
    raise RecordError(
        f"the keys ({keys}) are none that a trainer reads; see docs/records.md for the shapes"
    )


def _counts(contents: Contents) -> list[str]:
    lines = []
    if demonstrations := contents.of(Demonstration):
        pairs = Counter((d.prompt, d.response) for d in demonstrations)
        turns = sum(not isinstance(d.prompt, str) and len(d.prompt) > 1 for d in demonstrations)
        lines.append(
            f"{len(demonstrations):,} demonstrations for SFT by "
            f"{_people(d.labeler_id for d in demonstrations)}; {turns:,} with several turns, "
            f"{len(demonstrations) - len(pairs):,} exact duplicates"
        )
    if rankings := contents.of(Ranking):
        lines += _ranking_counts(rankings)
    if prompts := contents.of(Prompt):
        texts = {prompt_text(p.prompt) for p in prompts}
        lines.append(
            f"{len(prompts):,} prompts of {len({p.user_id for p in prompts}):,} users for sampling "
            f"and PPO; {len(prompts) - len(texts):,} exact duplicates"
        )
    if documents := contents.of(str):
        lines.append(f"{len(documents):,} documents of plain text for pretraining")
    if len(lines) > 1:
        lines.append("NOTE several kinds in one file: a trainer reads one kind and refuses others")
    return lines


def _ranking_counts(rankings: Sequence[Ranking]) -> list[str]:
    sizes = Counter(len(r.responses) for r in rankings)
    num_pairs = sum(len(r.pairs()) for r in rankings)
    num_ties = sum(r.num_ties for r in rankings)
    longer = sum(
        len(r.responses[better]) > len(r.responses[worse])
        for r in rankings
        for better, worse in r.pairs()
    )
    held_out = sum(r.labeler_role == "held_out" for r in rankings)
    lines = [
        f"{len(rankings):,} rankings for the reward model by "
        f"{_people(r.labeler_id for r in rankings)}; "
        + ", ".join(f"K={size}: {count:,}" for size, count in sorted(sizes.items())),
        f"{num_pairs:,} pairs, {num_ties:,} tied pairs left out; the preferred answer is the "
        f"longer one in {longer / max(num_pairs, 1):.0%} of pairs",
    ]
    if held_out:
        lines.append(f"NOTE {held_out:,} rankings are by held-out labelers: for valid_data only")
    return lines


def _bad_lines(contents: Contents) -> list[str]:
    shown = [f"BAD {problem}" for problem in contents.bad[:_MOST_BAD_ROWS]]
    rest = len(contents.bad) - len(shown)
    return [*shown, f"BAD and {rest:,} more rows"] if rest else shown


def _people(labelers: Iterable[str]) -> str:
    count = len(set(labelers))
    return f"{count:,} labeler" + ("s" if count != 1 else "")


def _listed(shapes: Counter[str]) -> str:
    total = sum(shapes.values())
    parts = [f"{name} ({count:,} rows)" for name, count in shapes.most_common()]
    return parts[0] if len(parts) == 1 else f"{total:,} rows of mixed shapes: {', '.join(parts)}"


def length_line(name: str, lengths: Sequence[int], unit: str) -> str:
    """Median, 95th percentile and longest of some lengths."""
    ordered = sorted(lengths)
    high = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return (
        f"{name}: median {statistics.median(ordered):g} {unit}, 95% at most {high:,}, "
        f"longest {ordered[-1]:,}"
    )


def _word_lengths(contents: Contents) -> list[str]:
    def words(text: str) -> int:
        return len(text.split())

    prompts = [
        words(prompt_text(record.prompt))
        for record in contents.records
        if not isinstance(record, str)
    ]
    responses = [words(d.response) for d in contents.of(Demonstration)]
    responses += [words(text) for r in contents.of(Ranking) for text in r.responses]
    documents = [words(text) for text in contents.of(str)]
    named = {"prompts": prompts, "responses": responses, "documents": documents}
    return [length_line(name, lengths, "words") for name, lengths in named.items() if lengths]


# With a tokenizer


def _check_with_model(config: DataCheckConfig, contents: Contents) -> None:
    from transformers import AutoConfig

    from understudy.core.policies import load_tokenizer

    assert config.model is not None
    tokenizer = load_tokenizer(config.model)
    settings = AutoConfig.from_pretrained(config.model, trust_remote_code=False)
    context = getattr(settings, "max_position_embeddings", None)
    print(f"  tokens of {config.model}, context {context or 'unlimited'}:")
    painter = _painter(config.color)
    for check, kind in ((_demonstrations, Demonstration), (_rankings, Ranking), (_texts, str)):
        if records := contents.of(kind):
            check(config, records, tokenizer, context, painter)
    if prompts := contents.of(Prompt):
        from understudy.core.chat import render_prompts

        lengths = [len(ids) for ids in render_prompts(tokenizer, [p.prompt for p in prompts])]
        _print_prompts(config, lengths)


def _demonstrations(
    config: DataCheckConfig, records: list, tokenizer: Any, context: int | None, paint: Callable
) -> None:
    from understudy.core.chat import encode_examples

    rows = encode_examples(tokenizer, [(d.prompt, d.response) for d in records])
    prompts = [_prompt_length(row.loss_mask) for row in rows]
    responses = [len(row.input_ids) - n for row, n in zip(rows, prompts, strict=True)]
    _print_prompts(config, prompts)
    _print_responses(config, prompts, responses, context)
    counted = sum(sum(row.loss_mask) for row in rows)
    total = sum(len(row.input_ids) for row in rows)
    print(f"    the loss counts {counted:,} of {total:,} tokens ({counted / total:.0%})")
    for record, row in list(zip(records, rows, strict=True))[: config.examples]:
        end = min(len(row.input_ids), _room(config, _prompt_length(row.loss_mask), context))
        print(f"  {record.id}:\n    " + paint(tokenizer, row.input_ids[:end], row.loss_mask[:end]))


def _rankings(
    config: DataCheckConfig, records: list, tokenizer: Any, context: int | None, paint: Callable
) -> None:
    from understudy.core.chat import encode_responses, render_prompts

    prompts = render_prompts(tokenizer, [r.prompt for r in records])
    answers = [encode_responses(tokenizer, r.responses) for r in records]
    _print_prompts(config, [len(ids) for ids in prompts])
    lengths = [(len(ids), len(a)) for ids, k in zip(prompts, answers, strict=True) for a in k]
    _print_responses(config, [p for p, _ in lengths], [a for _, a in lengths], context)
    print("    the score is read at each answer's last token, shown as counted:")
    for record, ids, k in list(zip(records, prompts, answers, strict=True))[: config.examples]:
        print(f"  {record.id}:")
        for rank, answer in sorted(zip(record.ranks, k, strict=True), key=lambda pair: pair[0]):
            answer = answer[: _room(config, len(ids), context) - len(ids)]
            mask = [0] * (len(ids) + len(answer) - 1) + [1]
            print(f"    rank {rank + 1}: " + paint(tokenizer, [*ids, *answer], mask))


def _texts(
    config: DataCheckConfig, records: list, tokenizer: Any, context: int | None, paint: Callable
) -> None:
    rows = tokenizer(records, add_special_tokens=False, verbose=False)["input_ids"]
    lengths = [len(row) + 1 for row in rows]
    print("    " + length_line("documents", lengths, "tokens"))
    print(f"    {sum(lengths):,} tokens in all, EOS after each document; every one is counted")


def _prompt_length(mask: Sequence[int]) -> int:
    return max((i for i, counts in enumerate(mask) if not counts), default=-1) + 1


def _room(config: DataCheckConfig, prompt_length: int, context: int | None) -> int:
    """Tokens that a prompt and its answer keep together."""
    return min(prompt_length + config.max_response_tokens, context or 2**31)


def _print_prompts(config: DataCheckConfig, lengths: Sequence[int]) -> None:
    print("    " + length_line("prompts", lengths, "tokens"))
    if dropped := sum(length > config.max_prompt_tokens for length in lengths):
        print(
            f"    LEFT OUT {dropped:,} rows: their prompt is longer than max_prompt_tokens="
            f"{config.max_prompt_tokens}"
        )


def _print_responses(
    config: DataCheckConfig, prompts: list[int], responses: list[int], context: int | None
) -> None:
    kept = [
        (prompt, response)
        for prompt, response in zip(prompts, responses, strict=True)
        if prompt <= config.max_prompt_tokens
    ]
    print("    " + length_line("responses, EOS included", responses, "tokens"))
    if full := sum(context is not None and prompt >= context for prompt, _ in kept):
        print(f"    ERROR {full:,} prompts fill the whole context of {context}: training refuses")
    cut = sum(prompt + response > _room(config, prompt, context) for prompt, response in kept)
    if cut:
        print(
            f"    CUT {cut:,} responses at max_response_tokens={config.max_response_tokens} or the "
            "context's end; they lose their EOS, so the model does not learn to end there"
        )


def _painter(color: str) -> Callable[[Any, Sequence[int], Sequence[int]], str]:
    colored = color == "always" or (color == "auto" and sys.stdout.isatty())
    return _paint if colored else _bracket


def _pieces(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> list[tuple[str, int]]:
    """The text of each run of tokens that are counted alike, tokens divided by "|"."""
    pieces: list[tuple[str, int]] = []
    for token, counts in zip(ids, mask, strict=True):
        text = tokenizer.decode([token]).replace("\n", "\\n")
        if pieces and pieces[-1][1] == counts:
            pieces[-1] = (f"{pieces[-1][0]}|{text}", counts)
        else:
            pieces.append((text, counts))
    return pieces


def _paint(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> str:
    """Counted tokens on green, the others dim."""
    style = {0: "\x1b[2m", 1: "\x1b[30;42m"}
    return "".join(f"{style[c]}{text}\x1b[0m" for text, c in _pieces(tokenizer, ids, mask))


def _bracket(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> str:
    """Counted tokens in [[ ]]."""
    return "".join(f"[[{t}]]" if counts else t for t, counts in _pieces(tokenizer, ids, mask))
