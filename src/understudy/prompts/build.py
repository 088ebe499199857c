"""Intake: turns users' prompts into a clean, capped, deduplicated, split set (s3.2, A.1-A.3, C).

The steps, in order: consent, length, personal data, duplicates, the cap per user, use case, split,
group.
The result depends on the prompts alone, not on their order of arrival: wherever one of several must
be chosen, it is the earliest by (created_at, id), so a later build never removes what an earlier
one kept. `created_at` is compared as text: give all times in UTC.

Departures: the paper filters personal data from the training split only, as the default here does;
`pii="drop"` or `"redact"` treats all splits alike. The paper does not publish its threshold for a
"long common prefix". Prompts that labelers wrote (source "labeler") are exempt from the cap, as
they must have been in the paper: 40 labelers wrote 11,295.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from understudy.prompts.concern import groups_of, read_rules
from understudy.prompts.dedup import DuplicateFinder
from understudy.prompts.lengths import CountTokens, estimate_tokens, tokenizer_counter, within
from understudy.prompts.pii import Finder, redact_conversation
from understudy.prompts.presidio import pii_finder
from understudy.prompts.report import IntakeReport, Tally
from understudy.prompts.split import SPLITS, split_of
from understudy.prompts.use_case import use_case_of
from understudy.records import Prompt, iter_records, prompt_text, write_records
from understudy.records.schema import Split
from understudy.records.written import WRITER

BATCH = 1024
"""Prompts per batch when counting tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeConfig:
    """Settings of intake."""

    max_prompt_tokens: int = 1024
    """Longer prompts are dropped (C: prompts over 1k tokens are filtered out)."""
    tokenizer: str | None = None
    """tokenizer.json, or a model folder that has one; by default a token is estimated as 4
    bytes."""
    pii: Literal["drop_train", "drop", "redact"] = "drop_train"
    """Prompts with personal data: dropped from the training split (A.1), dropped everywhere, or
    redacted everywhere."""
    presidio_model: str | None = None
    """spaCy model, installed or a folder, with which Presidio also finds names and places (extra
    `presidio`); by default only the rules find personal data."""
    presidio_language: str = "en"
    """The model's language."""
    duplicate_scope: Literal["all", "user"] = "all"
    """Where to look for duplicates: among everybody's prompts, or only among those of one user (or
    organisation)."""
    prefix_chars: int = 80
    """Shortest common prefix, in characters, that makes a duplicate; 0 turns this check off (s3.2,
    no number given)."""
    prefix_share: float = 0.8
    """Share of the longer prompt that the common prefix must cover, to within 10% (not
    published)."""
    near_duplicates: float | None = None
    """Also drop prompts whose word triples overlap by this much (Jaccard, e.g. 0.8); off, as in
    the paper."""
    group_by: Literal["user", "organization"] = "user"
    """The id that the cap and the splits go by: user (s3.2) or organization (A.3; the paper says
    both)."""
    max_per_group: int = 200
    """Most prompts of one user or organisation (s3.2); 0 turns the cap off. Labelers' prompts do
    not count."""
    use_case_url: str | None = None
    """Address of an OpenAI-compatible server, like http://127.0.0.1:8001/v1, whose model picks the
    use case if no labeler has; prompts are sent there. By default rules decide."""
    use_case_model: str = "understudy"
    """The model's name on that server, whose key is read from UNDERSTUDY_USE_CASE_KEY."""
    group_rules: Path | None = None
    """JSON object of regular expressions by group of people; a match puts the group that a prompt
    concerns into its tag `group`, unless a labeler has set it."""
    ask_groups: bool = False
    """Also ask that server's model which of the groups a prompt concerns, if no rule matches."""
    split_key: str = "understudy"
    """Key of the hash that splits users; choose your own, keep it secret, never change it."""
    valid_share: float = 0.1
    """Share of users in the valid split."""
    test_share: float = 0.1
    """Share of users in the test split, used only for evaluation (s3.6)."""

    def __post_init__(self) -> None:
        _check(
            self.max_prompt_tokens >= 1, "max_prompt_tokens", self.max_prompt_tokens, "1 or more"
        )
        _check(self.prefix_chars >= 0, "prefix_chars", self.prefix_chars, "0 (off) or more")
        _check(0 < self.prefix_share <= 1, "prefix_share", self.prefix_share, "above 0, at most 1")
        near = self.near_duplicates
        _check(
            near is None or 0 < near <= 1, "near_duplicates", near, "above 0, at most 1, or none"
        )
        _check(self.max_per_group >= 0, "max_per_group", self.max_per_group, "0 (no cap) or more")
        _check(bool(self.split_key), "split_key", self.split_key, "some text")
        for name in ("valid_share", "test_share"):
            _check(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0, below 1")
        url = self.use_case_url
        address = url is None or url.startswith(("http://", "https://"))
        _check(address, "use_case_url", url, "like http://127.0.0.1:8001/v1")
        if self.ask_groups and (url is None or self.group_rules is None):
            raise ValueError("--ask-groups needs --use-case-url and, for the names, --group-rules")
        total = self.valid_share + self.test_share
        _check(total < 1, "valid_share + test_share", total, "below 1, to leave a training split")


def build_prompts(
    prompts: Iterable[Prompt],
    config: IntakeConfig | None = None,
    *,
    count_tokens: Callable[[str], int] | None = None,
    on_drop: Callable[[str, Prompt], None] | None = None,
) -> tuple[list[Prompt], IntakeReport]:
    """The kept prompts by (created_at, id), each with its use case and split, and the report.

    `prompts` is read once, so it may be a generator. Replaces any split that a prompt already has.
    `count_tokens` replaces `config.tokenizer`; ValueError if both are given. `on_drop` gets each
    dropped prompt with its step.
    """
    config = config or IntakeConfig()
    rules = {} if config.group_rules is None else read_rules(config.group_rules)
    find = pii_finder(config.presidio_model, config.presidio_language)
    tally = Tally(_steps(config), on_drop, find)
    rows = _with_consent(prompts, tally)
    rows = _short_enough(rows, config.max_prompt_tokens, _counter(config, count_tokens), tally)
    rows = _without_pii(rows, config, find, tally)
    kept = sorted(rows, key=_arrival)
    if config.group_by == "organization":
        kept = _in_one_organization(kept, config, tally)
    kept = _without_duplicates(kept, config, tally)
    kept = _capped(kept, config, tally)
    for number, use_case in enumerate(_use_cases(kept, config)):
        prompt = kept[number]
        kept[number] = replace(prompt, use_case=use_case, split=_split(prompt, config))
    if rules:
        url = config.use_case_url if config.ask_groups else None
        for number, group in enumerate(groups_of(kept, rules, url, config.use_case_model)):
            if group is not None:
                tags = {**kept[number].tags, "group": group}
                kept[number] = replace(kept[number], tags=tags)
    return kept, tally.report(kept)


def _use_cases(prompts: list[Prompt], config: IntakeConfig) -> Iterator[str]:
    """Use cases from the labeler's tag, else from the model if there is one, else from the
    rules."""
    asked: Iterator[str | None] = iter(())
    if config.use_case_url is not None:
        from understudy.prompts.ask_use_case import asked_use_cases

        untagged = [prompt.prompt for prompt in prompts if not prompt.use_case]
        url, model = config.use_case_url, config.use_case_model
        asked = asked_use_cases(untagged, url=url, model=model)
    for prompt in prompts:
        yield prompt.use_case or next(asked, None) or use_case_of(prompt.prompt)


def _steps(config: IntakeConfig) -> tuple[str, ...]:
    organization = ("organization",) if config.group_by == "organization" else ()
    return "consent", "length", "pii", *organization, "duplicates", "cap"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig(IntakeConfig):
    """Turn users' raw prompts into a clean, capped, deduplicated, split prompt set."""

    data: tuple[Path, ...] = ()
    """Files of prompts, .jsonl, .parquet or .csv, or data sets by name; read as one set."""
    out: Path | None = None
    """File for the kept prompts, .jsonl or .parquet. Beside it go one file per split (for
    NAME.jsonl, NAME.train.jsonl and so on) and NAME.report.json, which lists what was dropped."""
    project: Path | None = None
    """Instead of files: the folder of a project; intake marks its store's prompts with the result.
    Its project.toml has the split key."""

    def __post_init__(self) -> None:
        IntakeConfig.__post_init__(self)
        if (self.project is None) != (bool(self.data) and self.out is not None) or (
            self.project is not None and (self.data or self.out is not None)
        ):
            raise ValueError("prompts build needs --data and --out, or --project alone")


def build_files(config: BuildConfig) -> IntakeReport:
    """Run `build_prompts` from files to files, or in a store; writes and returns the report."""
    if config.project is not None:
        from understudy.prompts.in_store import build_in_store

        return build_in_store(config.project, config)
    assert config.out is not None
    rows = (prompt for path in config.data for prompt in iter_records(path, Prompt))
    kept, report = build_prompts(rows, config)
    path = write_records(config.out, kept)
    for split in SPLITS:
        members = (prompt for prompt in kept if prompt.split == split)
        write_records(path.with_suffix(f".{split}{path.suffix}"), members)
    text = json.dumps(report.to_json(), indent=2)
    path.with_suffix(".report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _with_consent(prompts: Iterable[Prompt], tally: Tally) -> Iterator[Prompt]:
    for prompt in prompts:
        tally.num_in += 1
        if prompt.consent:
            yield prompt
        else:
            tally.drop("consent", prompt, "no_consent")


def _short_enough(
    prompts: Iterator[Prompt], limit: int, count: CountTokens, tally: Tally
) -> Iterator[Prompt]:
    while batch := list(islice(prompts, BATCH)):
        texts = [prompt_text(prompt.prompt) for prompt in batch]
        for prompt, fits in zip(batch, within(texts, limit, count), strict=True):
            if fits:
                yield prompt
            else:
                tally.drop("length", prompt, f"over_{limit}_tokens")


def _without_pii(
    prompts: Iterator[Prompt], config: IntakeConfig, find: Finder, tally: Tally
) -> Iterator[Prompt]:
    for prompt in prompts:
        found = find(prompt_text(prompt.prompt))
        if not found:
            yield prompt
        elif config.pii == "redact":
            tally.num_redacted += 1
            yield replace(prompt, prompt=redact_conversation(prompt.prompt, find))
        elif config.pii == "drop" or _split(prompt, config) == "train":
            tally.drop("pii", prompt, found[0].kind)
        else:
            tally.num_pii_outside_training += 1
            yield prompt


def _arrival(prompt: Prompt) -> tuple[str, str, str, str]:
    """Sort key: earliest first, prompts without a time last; further fields break ties."""
    return prompt.created_at or "~", prompt.id, prompt.user_id, prompt_text(prompt.prompt)


def _in_one_organization(prompts: list[Prompt], config: IntakeConfig, tally: Tally) -> list[Prompt]:
    """Drop a user's prompts that name another organisation than the user's earliest prompt:
    otherwise the user could be in two splits."""
    group_of: dict[str, str] = {}
    kept = []
    for prompt in prompts:
        group = _group(prompt, config)
        if group_of.setdefault(prompt.user_id, group) == group:
            kept.append(prompt)
        else:
            tally.drop("organization", prompt, "user_of_two_organizations")
    return kept


def _without_duplicates(prompts: list[Prompt], config: IntakeConfig, tally: Tally) -> list[Prompt]:
    finder = DuplicateFinder(
        prefix_chars=config.prefix_chars,
        prefix_share=config.prefix_share,
        near_duplicates=config.near_duplicates,
    )
    kept, ids = [], set()
    for prompt in prompts:
        if prompt.id in ids:
            tally.drop("duplicates", prompt, "same_id", prompt.id)
            continue
        scope = _group(prompt, config) if config.duplicate_scope == "user" else ""
        few_shot = prompt.source == "labeler" and "template" in prompt.tags
        duplicate = finder.check(prompt.id, prompt.prompt, scope, exact_only=few_shot)
        if duplicate:
            tally.drop("duplicates", prompt, duplicate.reason, duplicate.of)
        else:
            kept.append(prompt)
            ids.add(prompt.id)
    return kept


def _capped(prompts: list[Prompt], config: IntakeConfig, tally: Tally) -> list[Prompt]:
    limit = config.max_per_group
    counts: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        group = _group(prompt, config)
        if limit and prompt.source != "labeler":
            counts[group] += 1
            if counts[group] > limit:
                tally.drop("cap", prompt, f"over_{limit}_of_one_{config.group_by}")
                continue
        kept.append(prompt)
    return kept


def _counter(config: IntakeConfig, count_tokens: Callable[[str], int] | None) -> CountTokens:
    if count_tokens and config.tokenizer:
        raise ValueError(f"both a tokenizer ({config.tokenizer!r}) and count_tokens; give one")
    if count_tokens:
        return lambda texts: [count_tokens(text) for text in texts]
    return tokenizer_counter(config.tokenizer) if config.tokenizer else estimate_tokens


def _group(prompt: Prompt, config: IntakeConfig) -> str:
    """The id for a prompt's cap and split; a user without an organisation counts as one."""
    if config.group_by == "user" or prompt.organization_id is None:
        return f"user {prompt.user_id}"
    return f"organization {prompt.organization_id}"


def _split(prompt: Prompt, config: IntakeConfig) -> Split:
    """The split of the prompt's group; labelers' prompts are never in test, as in the paper (Table
    6)."""
    group = _group(prompt, config)
    return split_of(
        group,
        key=config.split_key,
        valid_share=config.valid_share,
        test_share=0.0 if group.startswith(f"user {WRITER}") else config.test_share,
    )


def _check(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")
