"""A model as judge, beside people: how far it agrees with them, and what its verdicts are worth.

    judged = pairs_of(read_records("runs/judge/comparisons.jsonl", Comparison))
    results = judge_results(judged, votes_of(people), prompts, baseline="sft")

A model judges each pair in both orders. A win in both is a win, and one win and one loss are a tie.
The share of pairs whose verdict changes with the order is the model's position bias. A model's
verdicts never count as people's: they have separate figures, beside their agreement with people's,
and the rate that people would give is estimated from both (`corrected.py`).

In agreement, as in win rates, a tie against a preference counts half. A model that always ties has
an agreement of one half, and so does one that guesses.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from understudy.evaluation.compare import first_shown_rate, outcome
from understudy.evaluation.corrected import corrected_rate
from understudy.evaluation.statistics import win_rate
from understudy.records import Comparison, Conversation, Prompt, Ranking
from understudy.records.overlap import prompt_key

Pair = tuple[Any, str, str]
"""A prompt's content and two texts in sorted order: a key common to all labels of a pair."""
WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair that a model has judged in both orders."""

    one: Comparison
    """The judgement in one order."""
    other: Comparison
    """The judgement in the other order."""

    @property
    def pair(self) -> Pair:
        """The pair that is judged."""
        return pair_of(self.one.prompt, self.one.first, self.one.second)

    @property
    def is_flipped(self) -> bool:
        """Whether the verdict changes with the order."""
        return self.one.preferred != self.other.swap().preferred

    def won_by_first(self) -> float:
        """Outcome for the response that `one` shows first: the mean of both orders."""
        return (WORTH[self.one.preferred] + 1 - WORTH[self.other.preferred]) / 2

    def won_by_lesser(self) -> float:
        """Outcome for the text that sorts first in `pair`."""
        won = self.won_by_first()
        return won if self.pair[1] == self.one.first else 1 - won


@dataclass(frozen=True, slots=True)
class Vote:
    """A person's vote on a pair."""

    labeler_id: str
    role: str
    won_by_lesser: float
    """1, 0.5 or 0 for the text that sorts first."""


Votes = Mapping[Pair, Sequence[Vote]]


def pairs_of(comparisons: Iterable[Comparison], where: object = "comparisons") -> list[Judged]:
    """The pairs that one model judged; ValueError if people or several models made the comparisons,
    or if a pair lacks one of its orders."""
    half: dict[tuple[Any, ...], list[Comparison]] = defaultdict(list)
    judged, labelers = [], set()
    for comparison in comparisons:
        labelers.add(comparison.labeler_id)
        if comparison.labeler_role != "model":
            raise ValueError(
                f"{where}: a comparison is by {comparison.labeler_role} labeler "
                f"{comparison.labeler_id}; people's go in --comparisons (or --people)"
            )
        waiting = half[_key(comparison.swap())]
        if waiting:
            judged.append(Judged(waiting.pop(0), comparison))
        else:
            half[_key(comparison)].append(comparison)
    if any(half.values()):
        raise ValueError(
            f"{where}: a pair is judged in one order only; give a file that `understudy judge` "
            "wrote, which has both orders"
        )
    if len(labelers) > 1:
        names = ", ".join(sorted(labelers))
        raise ValueError(f"{where} is by {names}; give one model's comparisons at a time")
    return judged


def pair_of(prompt: Conversation, first: str, second: str) -> Pair:
    """The key of two responses to a prompt, in either order."""
    lesser, greater = sorted((first, second))
    return prompt_key(prompt), lesser, greater


def votes_of(labels: Iterable[Comparison | Ranking], where: object = "people") -> Votes:
    """People's votes by pair; ValueError if a model is among them."""
    votes: dict[Pair, list[Vote]] = defaultdict(list)
    for label in labels:
        if label.labeler_role == "model":
            raise ValueError(f"{where}: {of_models([label])}; give only people's labels")
        for first, second, won in _choices(label):
            if first != second:
                pair = pair_of(label.prompt, first, second)
                lesser = won if pair[1] == first else 1 - won
                votes[pair].append(Vote(label.labeler_id, label.labeler_role, lesser))
    return dict(votes)


def of_models(labels: Sequence[Comparison | Ranking]) -> str:
    """A sentence that says how many labels are by models, and by which; "" if none are."""
    found = [label for label in labels if label.labeler_role == "model"]
    if not found:
        return ""
    who = ", ".join(sorted({label.labeler_id for label in found}))
    return f"{len(found):,} of {len(labels):,} {labels[0].noun}s are by models ({who})"


def judge_results(
    judged: Sequence[Judged], votes: Votes, prompts: Sequence[Prompt], baseline: str | None
) -> dict[str, Any]:
    """Keys of results.json: `model_judge`; with a baseline, `win_rates_vs_BASELINE_model_judge`;
    and, if people have labeled some pairs, `..._corrected`."""
    user_of = {prompt.id: prompt.user_id for prompt in prompts}
    results: dict[str, Any] = {"model_judge": _about(judged, votes, user_of)}
    if baseline is None:
        return results
    by_model: dict[str, list[tuple[float, Judged]]] = defaultdict(list)
    for one in judged:
        if baseline in (one.one.first_model, one.one.second_model):
            model, _ = outcome(one.one, baseline)
            by_first = one.won_by_first()
            by_model[model].append(
                (by_first if model == one.one.first_model else 1 - by_first, one)
            )
    key = f"win_rates_vs_{baseline}_model_judge"
    results[key] = {
        model: win_rate(
            [won for won, _ in rows],
            [one.one.prompt_id for _, one in rows],
            [_user(one, user_of) for _, one in rows],
        ).to_json()
        for model, rows in by_model.items()
    }
    corrected = {
        model: found
        for model, rows in by_model.items()
        if (found := _corrected(rows, votes, user_of, baseline))
    }
    return results | ({f"{key}_corrected": corrected} if corrected else {})


def _about(judged: Sequence[Judged], votes: Votes, user_of: Mapping[str, str]) -> dict[str, Any]:
    """How the model judges, and how far people agree with it and with each other."""
    # Equal texts tie without asking the model.
    shown = [one for one in judged if one.pair[1] != one.pair[2]]
    asked = [one.one.prompt_id for one in shown]
    users = [_user(one, user_of) for one in shown]
    about: dict[str, Any] = {"pairs": len(judged)}
    if not shown:
        return about
    about |= {
        "model": shown[0].one.labeler_id,
        "flipped": win_rate([float(one.is_flipped) for one in shown], asked, users).to_json(),
        "first_shown": first_shown_rate(
            [c for one in shown for c in (one.one, one.other)]
        ).to_json(),
        "ties": win_rate(
            [float(one.won_by_first() == 0.5) for one in shown], asked, users
        ).to_json(),
    }
    once = {one.pair: one for one in shown}  # two models may have written the same text
    met = [(one, vote) for pair, one in once.items() for vote in votes.get(pair, ())]
    if met:
        about["people"] = _agreement(met, user_of) | {
            "pairs": len({one.pair for one, _ in met}),
            "labelers": len({vote.labeler_id for _, vote in met}),
        }
        if among := _among_people(once, votes, user_of):
            about["people"]["among_people"] = among
    return about


def _agreement(met: Sequence[tuple[Judged, Vote]], user_of: Mapping[str, str]) -> dict[str, Any]:
    """`agreement` over all of people's votes, and `agreement_untied` over those without ties."""
    found: dict[str, Any] = {}
    untied = [(o, v) for o, v in met if 0.5 not in (o.won_by_lesser(), v.won_by_lesser)]
    agreed = {
        "agreement": [(1 - abs(o.won_by_lesser() - v.won_by_lesser), o) for o, v in met],
        "agreement_untied": [
            (float((o.won_by_lesser() > 0.5) == (v.won_by_lesser > 0.5)), o) for o, v in untied
        ],
    }
    for name, rows in agreed.items():
        if rows:
            clusters = [o.one.prompt_id for _, o in rows], [_user(o, user_of) for _, o in rows]
            found[name] = win_rate([share for share, _ in rows], *clusters).to_json()
    return found


def _among_people(
    once: Mapping[Pair, Judged], votes: Votes, user_of: Mapping[str, str]
) -> dict[str, Any] | None:
    """People's agreement with each other on the same pairs; None if no pair has two labelers."""
    rows = [
        (1 - abs(one.won_by_lesser - other.won_by_lesser), judged)
        for pair, judged in once.items()
        for one, other in combinations(votes.get(pair, ()), 2)
        if one.labeler_id != other.labeler_id
    ]
    if not rows:
        return None
    clusters = [o.one.prompt_id for _, o in rows], [_user(o, user_of) for _, o in rows]
    return win_rate([share for share, _ in rows], *clusters).to_json()


def _corrected(
    rows: Sequence[tuple[float, Judged]],
    votes: Votes,
    user_of: Mapping[str, str],
    baseline: str,
) -> dict[str, Any] | None:
    """Estimate of a model's win rate by people: by held-out labelers if any judged its pairs, else
    by training labelers, else by researchers. None if no person judged its pairs."""
    roles = {vote.role for _, one in rows for vote in votes.get(one.pair, ())}
    role = next((role for role in ("held_out", "training", "researcher") if role in roles), None)
    if role is None:
        return None
    labeled, others = [], []
    for won, one in rows:
        said = [v.won_by_lesser for v in votes.get(one.pair, ()) if v.role == role]
        if said:
            mean = sum(said) / len(said)
            of_first = mean if one.pair[1] == one.one.first else 1 - mean
            by_people = of_first if one.one.second_model == baseline else 1 - of_first
            labeled.append((by_people, won, _user(one, user_of)))
        else:
            others.append((won, _user(one, user_of)))
    people, model, clusters = zip(*labeled, strict=True)
    found = corrected_rate(
        people, model, [won for won, _ in others], clusters, [user for _, user in others]
    )
    alone = win_rate(people, clusters).to_json()
    return found.rate.to_json() | {"people": role, "people_alone": alone, "weight": found.weight}


def _user(judged: Judged, user_of: Mapping[str, str]) -> str:
    return user_of.get(judged.one.prompt_id, judged.one.prompt_id)


def _choices(label: Comparison | Ranking) -> list[tuple[str, str, float]]:
    """(text, other text, outcome for the first) for each pair in a label."""
    if isinstance(label, Comparison):
        return [(label.first, label.second, WORTH[label.preferred])]
    ranks = label.ranks
    return [
        (
            label.responses[i],
            label.responses[j],
            0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j]),
        )
        for i, j in combinations(range(len(ranks)), 2)
    ]


def _key(c: Comparison) -> tuple[Any, ...]:
    """Everything that identifies a comparison's pair and order, without the verdict."""
    return (c.prompt_id, c.first, c.second, c.first_model, c.second_model, c.first_id, c.second_id)
