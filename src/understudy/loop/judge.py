"""A language model as judge or labeler, at any OpenAI-compatible address.

    understudy judge --url http://127.0.0.1:8001/v1 --model NAME --people people.jsonl \
        --responses runs/eval/responses.jsonl --baseline sft --prompts test.jsonl --out runs/judge

Every pair is asked about in both orders. The model's verdicts are records of a role of their own,
"model"; `understudy evaluate --model-comparisons` shows them apart from people's.
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from random import Random

from understudy.evaluation.compare import by_prompt, comparison_of, paired
from understudy.evaluation.judge_prompt import Verdict, asked, read_template, verdict_of
from understudy.evaluation.judge_words import said
from understudy.evaluation.model_judge import (
    Judged,
    Pair,
    Votes,
    judge_results,
    pair_of,
    pairs_of,
    votes_of,
)
from understudy.records import (
    Comparison,
    LabelerInfo,
    Prompt,
    Ranking,
    Response,
    read_records,
    sha256_of,
    write_records,
)
from understudy.records.convert import Json, many, shortened
from understudy.records.files import iter_rows
from understudy.serving.ask import Asker, Limits, chat, key_of
from understudy.serving.upstream import check_url
from understudy.training.lock import lock_folder
from understudy.training.progress import Progress

KEY_VARIABLE = "UNDERSTUDY_JUDGE_KEY"
ORDERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """Have a language model compare responses, and measure how far people agree with it."""

    url: str
    """Address of an OpenAI-compatible server, like http://127.0.0.1:8001/v1; its key is read from
    the environment variable UNDERSTUDY_JUDGE_KEY."""
    model: str
    """The judging model's name at that address."""
    out: Path
    """Folder for comparisons.jsonl, results.json and the replies; with the same folder, the
    command continues where it stopped."""
    responses: Path | None = None
    """Responses to compare: of several models, or of one to be ranked."""
    baseline: str | None = None
    """Compare every other model's sampled responses with this model's, as evaluate does; without
    it, compare every two responses to a prompt, which yields rankings for training."""
    people: Path | None = None
    """People's comparisons or rankings: the model judges the same pairs, and agreement is
    measured."""
    prompts: Path | None = None
    """The prompts with their users: intervals are then clustered by user, not by prompt alone."""
    template: Path | None = None
    """The question to the model, with the placeholders {prompt}, {first} and {second}
    (docs/judge.md shows the default)."""
    temperature: float | None = 0.0
    """Sampling temperature of the verdicts; none leaves it to the server."""
    max_response_tokens: int | None = 512
    """Longest reply, in tokens; none leaves it to the server."""
    concurrency: int = 8
    """Requests in flight at the same time."""
    timeout_s: float = 120.0
    """Longest wait for one reply, in seconds."""
    max_requests: int | None = None
    """Budget of this call: requests sent, repeated ones included; none: no limit."""
    max_tokens: int | None = None
    """Budget of this call: tokens by the server's count, exceeded at most by the requests under
    way; none: no limit."""
    seed: int = 0
    """Seed of the order in which pairs are judged, so that a budget covers a random sample."""

    def __post_init__(self) -> None:
        check_url(self.url, "url", KEY_VARIABLE)
        if self.responses is None and self.people is None:
            raise ValueError("judge needs --responses, --people or both")
        if self.baseline is not None and self.responses is None:
            raise ValueError("baseline names a model in --responses; give that file too")
        for name in (
            "concurrency",
            "timeout_s",
            "max_response_tokens",
            "max_requests",
            "max_tokens",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")


@dataclass(frozen=True, slots=True)
class Task:
    """A pair to judge, with the two questions about it."""

    first: Response
    second: Response
    questions: tuple[Json, Json]
    """With `first` shown first, and with `second`."""


def judge(config: JudgeConfig) -> str:
    """Judge as configured; returns a summary in words."""
    # 1. Read everything, so that bad input costs nothing.
    template = read_template(config.template)
    people = [] if config.people is None else read_labels(config.people)
    votes = votes_of(people, config.people)
    prompts = [] if config.prompts is None else read_records(config.prompts, Prompt)
    pairs = to_judge(config, people, votes)
    # 2. Both orders of each pair, people's first, otherwise in random order.
    tasks = [
        Task(a, b, (_question(config, template, a, b), _question(config, template, b, a)))
        for a, b in pairs
    ]
    config.out.mkdir(parents=True, exist_ok=True)
    lock_folder(config.out)
    (config.out / "template.txt").write_text(template, encoding="utf-8")
    asker, replies = _asked(config, tasks)
    # 3. A pair counts once both verdicts can be read.
    comparisons, unread = verdicts(config.model, tasks, replies)
    if tasks and not comparisons and not asker.spent.stopped_by:
        raise ValueError(_no_verdict(config.model, unread, asker.spent.refused))
    write_records(config.out / "comparisons.jsonl", comparisons)
    # 4. Position bias, agreement, win rates and their correction.
    judged = pairs_of(comparisons)
    results = judge_results(judged, votes, prompts, config.baseline)
    results["model_judge"] |= {
        "model": config.model,
        "wanted": len(tasks),
        "unreadable": len(unread),
        "refused": len(asker.spent.refused),
        "refusal": asker.spent.refused[0] if asker.spent.refused else None,
        "requests": asker.spent.requests,
        "repeated": asker.spent.repeated,
        "tokens": asker.spent.tokens,
        "stopped_by": asker.spent.stopped_by or None,
    }
    if config.responses is not None and config.baseline is None:
        rankings = rankings_of(judged, config.model)
        write_records(config.out / "rankings.jsonl", rankings)
        results["model_judge"]["rankings"] = len(rankings)
    text = json.dumps(results, indent=1) + "\n"
    (config.out / "results.json").write_text(text, encoding="utf-8")
    return said(results, config.baseline, config.out)


def read_labels(path: Path) -> Sequence[Comparison | Ranking]:
    """People's comparisons or rankings; the file's first row decides which."""
    _, row = next(iter_rows(path, lambda note: None), ("", None))
    is_comparison = isinstance(row, Mapping) and {"first", "second", "preferred"} <= set(row)
    return read_records(path, Comparison) if is_comparison else read_records(path, Ranking)


def to_judge(
    config: JudgeConfig, people: Sequence[Comparison | Ranking], votes: Votes
) -> list[tuple[Response, Response]]:
    """The pairs, those that people have labeled first."""
    pairs = [] if config.responses is None else _of_responses(config)
    known = {pair_key(a, b) for a, b in pairs}
    alone: dict[Pair, tuple[Response, Response]] = {}
    for label in people:
        for a, b in combinations(_shown(label), 2):
            pair = pair_key(a, b)
            if a.response != b.response and pair not in known:
                alone.setdefault(pair, (a, b))
    pairs += alone.values()
    if not pairs:
        raise ValueError("there is no pair of different responses to judge")
    Random(f"judge/{config.seed}").shuffle(pairs)
    return sorted(pairs, key=lambda pair: pair_key(*pair) not in votes)


def _of_responses(config: JudgeConfig) -> list[tuple[Response, Response]]:
    """Each model's responses with the baseline's, or every two responses to a prompt."""
    assert config.responses is not None
    responses = read_records(config.responses, Response)
    sampled = [one for one in responses if one.temperature > 0] or responses
    if config.baseline is None:
        return [
            (a, b)
            for own in by_prompt(sampled).values()
            for a, b in combinations({one.response: one for one in own}.values(), 2)
        ]
    models = dict.fromkeys(one.model for one in sampled)
    if config.baseline not in models:
        raise ValueError(
            f"no response in {config.responses} is by the baseline {config.baseline!r}; the models "
            f"are {', '.join(models)}"
        )
    pool = f"{config.baseline}_pool"  # several responses per prompt, from which best-of-n chose
    of_model = {m: by_prompt(r for r in sampled if r.model == m) for m in models if m != pool}
    theirs = of_model.pop(config.baseline)
    return [
        pair
        for model, own in of_model.items()
        for prompt_id in own
        for pair in paired(model, prompt_id, own, theirs)
    ]


def _shown(label: Comparison | Ranking) -> list[Response]:
    """The responses that a person saw."""
    found: list[tuple[str, str | None, str | None]]
    if isinstance(label, Ranking):
        found = [(text, None, None) for text in label.responses]
    else:
        found = [
            (label.first, label.first_model, label.first_id),
            (label.second, label.second_model, label.second_id),
        ]
    return [
        Response(
            id=id or "",
            prompt_id=label.prompt_id,
            prompt=label.prompt,
            response=text,
            model=model or "",
        )
        for text, model, id in found
    ]


def pair_key(a: Response, b: Response) -> Pair:
    """A key that is the same for all labels of the same two responses."""
    return pair_of(a.prompt, a.response, b.response)


def _question(config: JudgeConfig, template: str, first: Response, second: Response) -> Json:
    return chat(
        config.model,
        asked(template, first.prompt, first.response, second.response),
        temperature=config.temperature,
        max_tokens=config.max_response_tokens,
    )


def _asked(config: JudgeConfig, tasks: Sequence[Task]) -> tuple[Asker, Mapping[str, str]]:
    """The model's replies; identical responses tie without a request."""
    questions = [q for t in tasks if t.first.response != t.second.response for q in t.questions]
    asker = Asker(
        config.url,
        kept=config.out / "replies.jsonl",
        key=os.environ.get(KEY_VARIABLE),
        limits=Limits(
            concurrency=config.concurrency,
            timeout_s=config.timeout_s,
            max_requests=config.max_requests,
            max_tokens=config.max_tokens,
        ),
    )
    new = {key_of(question) for question in questions} - set(asker.replies)
    print(
        f"{many(len(tasks), 'pair')} in both orders: {many(len(new), 'question')} to ask, "
        f"{len({key_of(q) for q in questions}) - len(new):,} answered before",
        file=sys.stderr,
    )
    with Progress(len(new), "Verdicts") as progress:
        asker.on_reply = lambda: progress.advance(1)
        return asker, asyncio.run(asker.ask(questions))


def _no_verdict(model: str, unread: Sequence[str], refused: Sequence[str]) -> str:
    """Why a model has judged no pair, and what to do."""
    if not unread:
        return f"{model} judged no pair: {many(len(refused), 'request')} refused ({refused[0]})"
    one = f"one that ends {shortened(unread[0][-50:])}" if unread[0] else "an empty one"
    return (
        f"{model} judged no pair: {many(len(unread), 'reply', 'replies')} without a readable "
        f"verdict, such as {one}; a model that thinks first needs a higher --max-response-tokens"
    )


def verdicts(
    model: str, tasks: Sequence[Task], replies: Mapping[str, str]
) -> tuple[list[Comparison], list[str]]:
    """Both comparisons of every pair whose two verdicts can be read, and the replies that cannot.

    The labeler is the model's name, its role "model".
    """
    info = LabelerInfo(id=model, role="model")
    comparisons: list[Comparison] = []
    unread: dict[str, str] = {}
    for task in tasks:
        found = []
        for question, (a, b) in zip(
            task.questions, ((task.first, task.second), (task.second, task.first)), strict=True
        ):
            key = key_of(question)
            preferred = verdict_of(replies[key]) if key in replies else None
            if task.first.response == task.second.response:
                preferred = "tie"
            elif key in replies and preferred is None:
                unread[key] = replies[key]
            if preferred is not None:
                found.append(_comparison(a, b, preferred, info))
        if len(found) == ORDERS:
            comparisons += found
    return comparisons, list(unread.values())


def _comparison(a: Response, b: Response, preferred: Verdict, info: LabelerInfo) -> Comparison:
    prompt = Prompt(id=a.prompt_id, prompt=a.prompt, user_id="")
    made = comparison_of(prompt, a, b, preferred, info)
    return replace(
        made,  # people's labels may name no models and ids
        first_model=a.model or None,
        second_model=b.model or None,
        first_id=a.id or None,
        second_id=b.id or None,
    )


def rankings_of(judged: Sequence[Judged], model: str) -> list[Ranking]:
    """Each prompt's responses, ranked by their share of wins over each other; equal shares tie.

    Prompts with a missing pair are left out.
    """
    shares: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    met: dict[str, int] = defaultdict(int)
    prompts = {}
    for one in judged:
        shown, won = one.one, one.won_by_first()
        prompts[shown.prompt_id] = shown.prompt
        shares[shown.prompt_id][shown.first] += won
        shares[shown.prompt_id][shown.second] += 1 - won
        met[shown.prompt_id] += 1
    rankings = []
    for prompt_id, share in shares.items():
        texts = sorted(share)
        if met[prompt_id] < len(texts) * (len(texts) - 1) // 2:
            continue
        levels = sorted(set(share.values()), reverse=True)
        tiers = tuple(
            tuple(i for i, text in enumerate(texts) if share[text] == level) for level in levels
        )
        rankings.append(
            Ranking(
                id=sha256_of([prompt_id, texts, model])[:16],
                prompt_id=prompt_id,
                prompt=prompts[prompt_id],
                responses=tuple(texts),
                tiers=tiers,
                labeler_id=model,
                labeler_role="model",
            )
        )
    return rankings
