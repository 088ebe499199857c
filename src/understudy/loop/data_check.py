"""Reports what a data file holds before training: format, counts, lengths, what is cut, and the
tokens that the loss counts.

The encoding, the limits and the loss mask are those of the trainers.
"""

import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from understudy.loop.data_problems import line, problems_of
from understudy.records import Demonstration, Feedback, Prompt, Ranking
from understudy.records.convert import many, visible
from understudy.records.names import is_packed
from understudy.records.overlap import of_other_splits, overlap
from understudy.records.reading import KEYS_THAT_DO, UNKNOWN, Found, read_found
from understudy.records.schema import prompt_text

_MOST_BAD_ROWS = 5
"""Bad rows that are listed; the rest are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCheckConfig:
    """Report the contents of a file of training data and what a trainer would do with it."""

    data: Positional[Path]
    """A file or folder of rows (docs/records.md), or a data set: ORG/NAME@CONFIG#SPLIT."""
    valid_data: Path | None = None
    """A trainer's validation set; rows that share a prompt with it are reported."""
    strict: bool = False
    """Exit with code 1 on any problem, bad rows included."""
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
    """The contents of a file."""

    placed: list[tuple[str, Any]]
    """(place, record) of the rows as demonstrations, rankings, feedback, prompts or text."""
    found: Found
    """Shapes, bad rows, and ignored keys."""

    @property
    def records(self) -> list[Any]:
        """All records."""
        return [record for _, record in self.placed]

    def of(self, kind: type) -> list[Any]:
        """The records of one kind."""
        return [record for _, record in self.placed if isinstance(record, kind)]

    def places(self, kind: type) -> list[str]:
        """The places of the records of one kind."""
        return [place for place, record in self.placed if isinstance(record, kind)]


def check_data(config: DataCheckConfig) -> None:
    """Print the findings; ValueError at the end if rows are bad, so that scripts notice.

    With `strict`, SystemExit with code 1 on any problem. The tokens of packed text are checked
    against their sha256.
    """
    if is_packed(config.data):
        from understudy.records.packed import check_packed

        print(check_packed(config.data))
        return
    contents = read_contents(config.data)
    found = contents.found
    print(f"{config.data}: {_listed(found.shapes)}")
    for text in [*_counts(contents), *found.lines(), *_ignored(found), *_bad_lines(found)]:
        print(f"  {text}")
    problems = problems_of(contents.placed) + _kinds(contents) + _one_sided(contents)
    if config.valid_data is not None:
        others = read_contents(config.valid_data)
        if others.found.bad:
            raise ValueError(f"{config.valid_data} {others.found.bad[0]}")
        if shared := overlap(contents.placed, others.records):
            problems.append(line(shared, f"rows have a prompt that is in {config.valid_data} too"))
    if config.model is None:
        for text in _word_lengths(contents):
            print(f"  {text}")
        print("  give --model to see tokens, what is cut, and the loss mask")
    else:
        problems += _check_with_model(config, contents)
    for text in problems:
        print(f"  PROBLEM {text}")
    if config.strict and (problems or found.bad):
        kinds = many(len(problems) + bool(found.bad), "kind")
        print(f"  {kinds} of problem; exit code 1 because of --strict")
        raise SystemExit(1)
    if set(found.shapes) == {UNKNOWN}:
        raise ValueError(
            f"{config.data}: no row has a known shape. {KEYS_THAT_DO}; docs/records.md lists all"
        )
    if found.bad:
        raise ValueError(
            f"{config.data}: {many(len(found.bad), 'row')} cannot be read; see above. Correct or "
            "delete them, or leave them out: understudy data convert "
            f"{config.data} --skip-bad --out FILE"
        )


def read_contents(source: Path) -> Contents:
    """Every row of a source; bad ones are collected instead of raised."""
    found = Found(lenient=True)
    placed = list(read_found(source, None, found))
    if not found.num_rows:
        raise ValueError(f"{source} has no rows")
    return Contents(placed, found)


def _ignored(found: Found) -> list[str]:
    """The keys that no reader uses."""
    keys = [f"{visible(key)} ({count:,})" for key, count in found.ignored.most_common()]
    return [f"ignored keys (rows): {', '.join(keys)}"] if keys else []


def _kinds(contents: Contents) -> list[str]:
    kinds = (Demonstration, Ranking, Feedback, Prompt, str)
    if sum(bool(contents.of(kind)) for kind in kinds) < 2:
        return []
    return ["several kinds in one file: a trainer reads one kind and refuses others"]


def _one_sided(contents: Contents) -> list[str]:
    said = {f.desirable for f in contents.of(Feedback)}
    name = "undesirable" if True in said else "desirable"
    return [f"no response is {name}: KTO needs both kinds"] if len(said) == 1 else []


def _counts(contents: Contents) -> list[str]:
    lines = []
    if demonstrations := contents.of(Demonstration):
        turns = sum(not isinstance(d.prompt, str) and len(d.prompt) > 1 for d in demonstrations)
        lines.append(
            f"{many(len(demonstrations), 'demonstration')} for SFT by "
            f"{_people(d.labeler_id for d in demonstrations)}; {turns:,} with several turns"
        )
    if rankings := contents.of(Ranking):
        lines += _ranking_counts(rankings)
    if feedback := contents.of(Feedback):
        lines.append(_feedback_counts(feedback))
    if prompts := contents.of(Prompt):
        lines.append(
            f"{many(len(prompts), 'prompt')} of "
            f"{many(len({p.user_id for p in prompts}), 'user')} for sampling "
            "and PPO"
        )
        if refused := sum(not prompt.consent for prompt in prompts):
            lines.append(f"NOTE {many(refused, 'prompt')} without consent")
    labels = [record for record in contents.records if not isinstance(record, Prompt)]
    if others := of_other_splits(labels):
        lines.append(f"NOTE of the split valid or test, not for training: {many(others, 'row')}")
    if documents := contents.of(str):
        lines.append(f"{many(len(documents), 'document')} of plain text for pretraining")
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
        f"{many(len(rankings), 'ranking')} for the reward model by "
        f"{_people(r.labeler_id for r in rankings)}; "
        + ", ".join(f"K={size}: {count:,}" for size, count in sorted(sizes.items())),
        f"{many(num_pairs, 'pair')}, {many(num_ties, 'tied pair')} left out; the preferred "
        f"response is the longer one in {longer / max(num_pairs, 1):.0%} of pairs",
    ]
    if held_out:
        lines.append(f"NOTE by held-out labelers, for valid_data only: {many(held_out, 'ranking')}")
    if by_models := sum(r.labeler_role == "model" for r in rankings):
        lines.append(f"NOTE by models, not by people: {many(by_models, 'ranking')}")
    return lines


def _feedback_counts(feedback: Sequence[Feedback]) -> str:
    desirable = sum(f.desirable for f in feedback)
    return (
        f"{many(len(feedback), 'feedback record')} for KTO by "
        f"{_people(f.labeler_id for f in feedback)}: "
        f"{desirable:,} desirable, {len(feedback) - desirable:,} undesirable; SFT learns the "
        "desirable ones from the same file"
    )


def _bad_lines(found: Found) -> list[str]:
    shown = [f"BAD {problem}" for problem in found.bad[:_MOST_BAD_ROWS]]
    rest = len(found.bad) - len(shown)
    return [*shown, f"BAD and {rest:,} more rows"] if rest else shown


def _people(labelers: Iterable[str]) -> str:
    count = len(set(labelers))
    return f"{count:,} labeler" + ("s" if count != 1 else "")


def _listed(shapes: Counter[str]) -> str:
    total = sum(shapes.values())
    parts = [f"{name} ({many(count, 'row')})" for name, count in shapes.most_common()]
    if len(parts) == 1:
        return parts[0]
    return f"{many(total, 'row')} of mixed shapes: {', '.join(parts)}"


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
    single = [*contents.of(Demonstration), *contents.of(Feedback)]
    responses = [words(record.response) for record in single]
    responses += [words(text) for r in contents.of(Ranking) for text in r.responses]
    documents = [words(text) for text in contents.of(str)]
    named = {"prompts": prompts, "responses": responses, "documents": documents}
    return [length_line(name, lengths, "words") for name, lengths in named.items() if lengths]


# With a tokenizer


def _check_with_model(config: DataCheckConfig, contents: Contents) -> list[str]:
    """Print lengths and examples in tokens; what a trainer would cut or leave out."""
    from transformers import AutoConfig

    from understudy.models.policies import load_tokenizer

    assert config.model is not None
    tokenizer = load_tokenizer(config.model)
    settings = AutoConfig.from_pretrained(config.model, trust_remote_code=False)
    context = getattr(settings, "max_position_embeddings", None)
    print(f"  tokens of {config.model}, context {context or 'unlimited'}:")
    limits = Limits(config, context, _painter(config.color))
    problems: list[str] = []
    for kind in (Demonstration, Feedback):
        if contents.of(kind):
            problems += _single_responses(limits, contents, tokenizer, kind)
    if contents.of(Ranking):
        problems += _rankings(limits, contents, tokenizer)
    if contents.of(str):
        _texts(contents.of(str), tokenizer)
    if prompts := contents.of(Prompt):
        from understudy.models.chat import render_prompts

        places = contents.places(Prompt)
        rows = render_prompts(tokenizer, [p.prompt for p in prompts], places.__getitem__)
        problems += _check_prompts(limits, [len(ids) for ids in rows], places)
    return problems


@dataclass(frozen=True, slots=True)
class Limits:
    """A trainer's limits on rows, and the display of examples."""

    config: DataCheckConfig
    context: int | None
    """The model's context in tokens; None is unlimited."""
    paint: Callable[[Any, Sequence[int], Sequence[int]], str]

    def room(self, prompt_length: int) -> int:
        """Most tokens that a prompt and its response keep together."""
        return min(prompt_length + self.config.max_response_tokens, self.context or 2**31)


def _single_responses(limits: Limits, contents: Contents, tokenizer: Any, kind: type) -> list[str]:
    """Report demonstrations, or feedback, where the loss counts only the last response."""
    from understudy.models.chat import encode_examples

    records, places = contents.of(kind), contents.places(kind)
    pairs = [(d.prompt, d.response) for d in records]
    rows = encode_examples(tokenizer, pairs, places.__getitem__)
    prompts = [row.prompt_length for row in rows]
    responses = [row.end - row.prompt_length for row in rows]
    problems = _check_prompts(limits, prompts, places)
    problems += _check_responses(limits, prompts, responses, places)
    masks = [row.loss_mask for row in rows]
    if kind is Feedback:
        masks = [[0] * row.prompt_length + row.loss_mask[row.prompt_length :] for row in rows]
    counted = sum(map(sum, masks))
    total = sum(len(row.input_ids) for row in rows)
    print(f"    the loss counts {counted:,} of {total:,} tokens ({counted / total:.0%})")
    for record, row, mask in list(zip(records, rows, masks, strict=True))[: limits.config.examples]:
        end = min(len(row.input_ids), limits.room(row.prompt_length))
        label = f" ({'' if record.desirable else 'un'}desirable)" if kind is Feedback else ""
        shown = limits.paint(tokenizer, row.input_ids[:end], mask[:end])
        print(f"  {visible(record.id)}{label}:\n    {shown}")
    return problems


def _rankings(limits: Limits, contents: Contents, tokenizer: Any) -> list[str]:
    from understudy.models.chat import encode_responses

    records, own = contents.of(Ranking), contents.places(Ranking)
    texts = [r.prompt for r in records], [r.responses for r in records]
    encoded = encode_responses(tokenizer, *texts, own.__getitem__)
    prompts, responses = [ids for ids, _ in encoded], [k for _, k in encoded]
    problems = _check_prompts(limits, [len(ids) for ids in prompts], own)
    placed = zip(own, prompts, responses, strict=True)
    flat = [(place, len(ids), len(response)) for place, ids, k in placed for response in k]
    places, before, after = (list(column) for column in zip(*flat, strict=True))
    problems += _check_responses(limits, before, after, places)
    print("    the score is read at each response's last token, shown as counted:")
    for record, ids, k in list(zip(records, prompts, responses, strict=True))[
        : limits.config.examples
    ]:
        print(f"  {visible(record.id)}:")
        for rank, response in sorted(zip(record.ranks, k, strict=True), key=lambda pair: pair[0]):
            kept = response[: limits.room(len(ids)) - len(ids)]
            mask = [0] * (len(ids) + len(kept) - 1) + [1]
            print(f"    rank {rank + 1}: " + limits.paint(tokenizer, [*ids, *kept], mask))
    return problems


def _texts(records: list[str], tokenizer: Any) -> None:
    rows = tokenizer(records, add_special_tokens=False, verbose=False)["input_ids"]
    lengths = [len(row) + 1 for row in rows]
    print("    " + length_line("documents", lengths, "tokens"))
    print(f"    {sum(lengths):,} tokens in all, EOS after each document; every one is counted")


def _check_prompts(limits: Limits, lengths: Sequence[int], places: Sequence[str]) -> list[str]:
    print("    " + length_line("prompts", lengths, "tokens"))
    most = limits.config.max_prompt_tokens
    long = [place for place, n in zip(places, lengths, strict=True) if n > most]
    text = f"rows are LEFT OUT: prompt longer than max_prompt_tokens={most}"
    return [line(long, text)] if long else []


def _check_responses(
    limits: Limits, prompts: Sequence[int], responses: Sequence[int], places: Sequence[str]
) -> list[str]:
    """Problems: responses that are cut and therefore have no EOS, and prompts that do not fit."""
    print("    " + length_line("responses, EOS included", responses, "tokens"))
    kept = [
        (place, prompt, prompt + response)
        for place, prompt, response in zip(places, prompts, responses, strict=True)
        if prompt <= limits.config.max_prompt_tokens
    ]
    context = limits.context
    problems = []
    if full := [place for place, n, _ in kept if context is not None and n >= context]:
        text = f"prompts fill the whole context of {context}: training refuses"
        problems.append(line(full, text))
    if cut := [place for place, n, total in kept if total > limits.room(n)]:
        text = (
            f"responses are CUT at max_response_tokens={limits.config.max_response_tokens} or the "
            "context's end, without EOS, so the model does not learn to end there"
        )
        problems.append(line(cut, text))
        if len(cut) == len(kept):
            problems.append("no response ends: a model trained on this file never stops by itself")
    return problems


def _painter(color: str) -> Callable[[Any, Sequence[int], Sequence[int]], str]:
    colored = color == "always" or (color == "auto" and sys.stdout.isatty())
    return _paint if colored else _bracket


def _pieces(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> list[tuple[str, int]]:
    """The text of each run of tokens with equal mask, tokens separated by "|"."""
    pieces: list[tuple[str, int]] = []
    for token, counts in zip(ids, mask, strict=True):
        text = visible(tokenizer.decode([token]))
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
