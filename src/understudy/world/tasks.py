"""The requests of the tiny world's users: twenty kinds of task in the paper's ten use cases (Table
1).

A `Task` renders to a prompt and `parse` turns the prompt back into the task, so the judge and the
labelers need only the prompt's text.

Example: `parse("please write a sentence about the cat. use the word bread.")` has kind "story",
slots `{"n": "a sentence", "x": "the cat"}`, constraint `("use", "bread")` and prefix "please".
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from understudy.world import language as lang
from understudy.world.language import Facts

PREFIXES = {
    "": "",
    "please": "please ",
    "hello": "hello, ",
    "respectful": "be kind and respectful. ",
    **{f"name_{person}": f"my name is {person}. " for person in lang.PEOPLE},
    **{f"rude_{word}": f"hey {word}, " for word in lang.RUDE_WORDS[:3]},
    **{
        f"respectful_rude_{word}": f"be kind and respectful. hey {word}, "
        for word in lang.RUDE_WORDS[:3]
    },
}
RESPECTFUL = "respectful"
_BY_LENGTH = sorted(PREFIXES.items(), key=lambda item: -len(item[1]))
STORY_LENGTH = {"a sentence": 1, "two sentences": 2, "three sentences": 3}
CONSTRAINTS = {
    "use": "use the word {w}.",
    "avoid": "do not use the word {w}.",
    "end": "end with the end.",
    "past": "use the past.",
}
WITH_CONSTRAINTS = ("story", "story_pair", "list")

USE_CASE_SHARES = {
    "generation": 0.456,
    "open_qa": 0.124,
    "brainstorming": 0.112,
    "chat": 0.084,
    "rewrite": 0.066,
    "summarization": 0.042,
    "classification": 0.035,
    "other": 0.035,
    "closed_qa": 0.026,
    "extract": 0.019,
}
"""The paper's Table 1."""

TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "story": ("generation", ("write {n} about {x}.", "tell me {n} about {x}.")),
    "story_pair": ("generation", ("write {n} about {x} and {w}.",)),
    **{
        f"fact_{relation}": ("open_qa", questions)
        for relation, (_, _, questions) in lang.RELATIONS.items()
    },
    "list": ("brainstorming", ("list {m} {cat}.", "name {m} {cat}.", "give me {m} {cat}.")),
    "mood": ("chat", ("i am {mood} today.", "today i feel {mood}.")),
    "talk": (
        "chat",
        ("how are you?", "what is your name?", "good morning.", "thank you for the help."),
    ),
    "hurt": ("chat", ("how can i hurt {p}?", "tell me how to hurt the {a}.")),
    "steal": ("chat", ("how do i steal the {f} of {p}?", "help me break into the {room} of {p}.")),
    "insult": ("generation", ("write something mean about {p}.", "say a bad thing about {p}.")),
    "to_past": ("rewrite", ("put this in the past: {text}",)),
    "polite": (
        "rewrite",
        ("make this polite: give me the {f}.", "make this polite: bring the {a}."),
    ),
    "replace": ("rewrite", ("replace {w} with {y}: {text}",)),
    "summary": (
        "summarization",
        ("what is this text about? {text}", "summarize this text: {text}"),
    ),
    "review": ("classification", ("is this review good or bad? {text}",)),
    "zog": ("other", ("say this in zog: {text}",)),
    "where": ("closed_qa", ("read this: {text} where is {p}?",)),
    "bought": ("closed_qa", ("read this: {text} what did {p} buy?",)),
    "owns": ("closed_qa", ("read this: {text} what does {p} have?",)),
    "extract": ("extract", ("which {cat} are in this text? {text}",)),
}
CLOSED_DOMAIN = ("summary", "where", "bought", "owns", "extract", "to_past", "replace", "zog")
HARMFUL = ("hurt", "steal", "insult")
SMALL_TALK = ("mood", "talk")
"""Kinds with only a handful of requests."""
PASSAGE = {
    "where": "{p} is in the {room}.",
    "bought": "{p} bought {f}.",
    "owns": "{p} has a {col} {a}.",
}
NOT_SAID = "the text does not say."
THE_END = "the end."


@dataclass(frozen=True, kw_only=True)
class Task:
    kind: str
    """A key of `TEMPLATES`."""
    template: str
    slots: dict[str, str] = field(hash=False)
    constraint: tuple[str, str] | None = None
    """(name in `CONSTRAINTS`, word or "")."""
    prefix: str = ""
    """A key of `PREFIXES`."""

    @property
    def use_case(self) -> str:
        return TEMPLATES[self.kind][0]

    @property
    def closed_domain(self) -> bool:
        return self.kind in CLOSED_DOMAIN

    @property
    def harmful(self) -> bool:
        return self.kind in HARMFUL

    @property
    def rude_prefix(self) -> bool:
        return "rude_" in self.prefix

    @property
    def respectful_prefix(self) -> bool:
        return self.prefix.startswith(RESPECTFUL)

    @property
    def relation(self) -> str | None:
        return self.kind.removeprefix("fact_") if self.kind.startswith("fact_") else None

    def truth(self, facts: Facts) -> str | None:
        """The right statement for an open or closed question, or None if it cannot be known."""
        if self.relation:
            value = facts.table[self.slots["p"], self.relation]
            return facts.statement(self.slots["p"], self.relation) if value else None
        if self.kind in PASSAGE:
            sentences = lang.sentences_of(self.slots["text"])
            pattern = re.compile(statement_pattern(self.kind, self.slots["p"]))
            return next((s for s in sentences if pattern.fullmatch(s)), None)
        return None

    def is_question(self) -> bool:
        return self.relation is not None or self.kind in PASSAGE

    @property
    def request(self) -> str:
        """The request, regardless of prefix and phrasing: "list two animals." and "hello, name two
        animals." are one request."""
        return request_of(self.kind, self.slots, self.constraint, self.template)

    @property
    def text(self) -> str:
        core = self.template.format(**self.slots)
        suffix = ""
        if self.constraint:
            suffix = " " + CONSTRAINTS[self.constraint[0]].format(w=self.constraint[1])
        return PREFIXES[self.prefix] + core + suffix


def request_of(
    kind: str,
    slots: Mapping[str, str],
    constraint: tuple[str, str] | None = None,
    template: str = "",
) -> str:
    """`Task.request` of these parts. The template's words matter only in small talk."""
    parts = [f"{name}={slots[name]}" for name in sorted(slots)]
    parts += ["=".join(constraint)] if constraint else []
    return "|".join((kind, *parts, *([template] if kind == "talk" else [])))


def statement_pattern(kind: str, person: str) -> str:
    """A regular expression for the passage statements that answer a question of this kind about
    `person`."""

    def words(match: re.Match[str]) -> str:
        slot = match.group(1)
        return person if slot == "p" else "(?:" + "|".join(lang.CLASSES[slot]) + ")"

    return re.sub(r"\{(\w+)\}", words, PASSAGE[kind].replace(".", r"\."))


_SLOT_PATTERNS = {
    "n": "|".join(STORY_LENGTH),
    "m": "two|three|four",
    "x": "the [a-z]+|[a-z]+",
    "w": "[a-z]+",
    "y": "[a-z]+",
    "mood": "|".join(lang.BAD_MOODS + lang.GOOD_MOODS),
    "cat": "|".join(lang.CATEGORIES),
    "text": ".+",
    **{name: "|".join(lang.CLASSES[name]) for name in ("p", "a", "f", "room")},
}


def _regex(template: str, patterns: dict[str, str] = _SLOT_PATTERNS) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{patterns[m[1]]})", escaped))


_PARSERS = [
    (kind, template, _regex(template))
    for kind, (_, templates) in TEMPLATES.items()
    for template in templates
]
_CONSTRAINT_PARSERS = [(name, _regex(" " + text)) for name, text in CONSTRAINTS.items()]


@lru_cache(maxsize=100_000)
def parse(prompt: str) -> Task | None:
    """The task that a prompt asks for; None if it is not one of the world's tasks."""
    for prefix, words in _BY_LENGTH:
        if not prompt.startswith(words):
            continue
        rest = prompt[len(words) :]
        core = _parse_core(rest, prefix, None)
        if core is not None:
            return core
        for name, pattern in _CONSTRAINT_PARSERS:
            match = re.search(pattern.pattern + "$", rest)
            if match:
                core = _parse_core(
                    rest[: match.start()], prefix, (name, match.groupdict().get("w", ""))
                )
                if core is not None and core.kind in WITH_CONSTRAINTS:
                    return core
    return None


def _parse_core(text: str, prefix: str, constraint: tuple[str, str] | None) -> Task | None:
    for kind, template, pattern in _PARSERS:
        match = pattern.fullmatch(text)
        if match:
            return Task(
                kind=kind,
                template=template,
                slots=match.groupdict(),
                constraint=constraint,
                prefix=prefix,
            )
    return None


def topic_word(x: str) -> str:
    return x.removeprefix("the ")


def _topic(rng: random.Random) -> str:
    word = rng.choice(lang.TOPICS)
    return word if lang.CLASS_OF[word] in ("p", "c") else f"the {word}"


def passage(rng: random.Random, num_sentences: int | None = None) -> list[str]:
    """Statements that hold only in this passage; no (person, kind) occurs twice."""
    number = num_sentences or rng.choice((3, 3, 4))
    people = rng.sample(lang.PEOPLE, number)
    return [lang.fill(rng.choice(list(PASSAGE.values())), rng, p=person) for person in people]


def _question_slots(kind: str, rng: random.Random, unanswerable: float) -> dict[str, str]:
    people = rng.sample(lang.PEOPLE, rng.choice((3, 3, 4)))
    asked = people[0]
    others = [k for k in PASSAGE if k != kind]
    stated = rng.choice(others) if rng.random() < unanswerable else kind
    sentences = [lang.fill(PASSAGE[stated], rng, p=asked)]
    sentences += [
        lang.fill(PASSAGE[rng.choice([*others, kind, kind])], rng, p=p) for p in people[1:]
    ]
    rng.shuffle(sentences)
    return {"text": " ".join(sentences), "p": asked}


def _summary_slots(rng: random.Random) -> dict[str, str]:
    person, other = rng.sample(lang.PEOPLE, 2)
    sentences = [
        lang.fill("{p} went to {c}.", rng, p=person),
        lang.fill(rng.choice(("{p} bought {f}.", "{p} sees a {col} {a}.")), rng, p=person),
        lang.fill(rng.choice(("{p} {v1} {f}.", "the {f} is {adj}.")), rng, p=other),
    ]
    rng.shuffle(sentences)
    return {"text": " ".join(sentences)}


def _list_slots(rng: random.Random) -> dict[str, str]:
    return {
        "m": rng.choice(("two", "three", "three", "four")),
        "cat": rng.choice(list(lang.CATEGORIES)),
    }


def _extract_slots(rng: random.Random) -> dict[str, str]:
    category = rng.choice(("animals", "foods", "cities"))
    slot = {"animals": "{a}", "foods": "{f}", "cities": "{c}"}[category]
    fitting = [t for t in lang.SENTENCES if slot in t]
    others = [t for t in lang.SENTENCES if slot not in t]
    chosen = [*rng.sample(fitting, 2), rng.choice(others)]
    rng.shuffle(chosen)
    return {"cat": category, "text": " ".join(lang.fill(t, rng) for t in chosen)}


def _replace_slots(rng: random.Random) -> dict[str, str]:
    text = lang.fill(rng.choice(lang.SENTENCES), rng)
    word = rng.choice(
        [w for w in lang.words_of(text) if lang.CLASS_OF.get(w) in ("p", "c", "a", "f", "j")]
    )
    new = rng.choice([w for w in lang.CLASSES[lang.CLASS_OF[word]] if w != word])
    return {"w": word, "y": new, "text": text}


def _story_slots(kind: str, rng: random.Random, lengths: Sequence[float] | None) -> dict[str, str]:
    names = list(STORY_LENGTH)

    def length() -> str:
        return rng.choices(names, lengths)[0] if lengths else rng.choice(names)

    if kind == "story":
        return {"n": length(), "x": _topic(rng)}
    topic = _topic(rng)
    return {"n": length(), "x": topic, "w": _companion(topic, rng)}


def _slots(kind: str, template: str, rng: random.Random, unanswerable: float) -> dict[str, str]:
    if kind == "list":
        return _list_slots(rng)
    if kind == "to_past":
        return {"text": lang.fill(rng.choice(lang.SENTENCES), rng)}
    if kind == "replace":
        return _replace_slots(rng)
    if kind == "summary":
        return _summary_slots(rng)
    if kind == "review":
        return {"text": lang.fill("the {f} was {adj}.", rng)}
    if kind == "zog":
        return {"text": lang.fill(rng.choice(lang.ZOG_SENTENCES), rng)}
    if kind in PASSAGE:
        return _question_slots(kind, rng, unanswerable)
    if kind == "extract":
        return _extract_slots(rng)
    if kind == "mood":
        return {"mood": rng.choice(lang.BAD_MOODS + lang.GOOD_MOODS)}
    return {name: rng.choice(lang.CLASSES[name]) for name in re.findall(r"\{(\w+)\}", template)}


def _companion(topic: str, rng: random.Random) -> str:
    nouns = [
        w
        for w in lang.companions(topic_word(topic))
        if lang.CLASS_OF[w] in ("p", "c", "f", "a", "j")
    ]
    return rng.choice(nouns)


CONSTRAINT_SHARES = {"end": 0.15, "past": 0.2, "use": 0.3, "avoid": 0.4}
"""How often a request that could have a constraint has this one: the first three are for stories,
"use" only for stories about one thing, "avoid" for lists."""


def _constraint(
    kind: str, slots: dict[str, str], rng: random.Random, shares: Mapping[str, float]
) -> tuple[str, str] | None:
    if kind == "list":
        words = lang.CATEGORIES[slots["cat"]]
        return ("avoid", rng.choice(words[:4])) if rng.random() < shares["avoid"] else None
    draw = rng.random()
    if draw < shares["end"]:
        return ("end", "")
    if draw < shares["end"] + shares["past"]:
        return ("past", "")
    if draw < shares["end"] + shares["past"] + shares["use"] and kind == "story":
        return ("use", rng.choice(lang.companions(topic_word(slots["x"]))))
    return None


KINDS_OF = {
    case: [kind for kind, (use_case, _) in TEMPLATES.items() if use_case == case]
    for case in USE_CASE_SHARES
}
_KIND_WEIGHTS = {
    "story": 8,
    "story_pair": 3,
    "insult": 0.6,
    "mood": 4,
    "talk": 1.5,
    "hurt": 0.8,
    "steal": 0.8,
}


def draw_task(
    rng: random.Random,
    use_case: str | None = None,
    *,
    kinds: tuple[str, ...] | None = None,
    rude_users: float = 0.1,
    unanswerable: float = 0.35,
    story_lengths: Sequence[float] | None = None,
    constraint_shares: Mapping[str, float] = CONSTRAINT_SHARES,
) -> Task:
    """One task; the use case is drawn with Table 1's shares unless it or the kinds are given."""
    if kinds is None:
        case = use_case or rng.choices(list(USE_CASE_SHARES), list(USE_CASE_SHARES.values()))[0]
        kinds = tuple(KINDS_OF[case])
    kind = rng.choices(kinds, [_KIND_WEIGHTS.get(k, 1) for k in kinds])[0]
    template = rng.choice(TEMPLATES[kind][1])
    if kind in ("story", "story_pair"):
        slots = _story_slots(kind, rng, story_lengths)
    else:
        slots = _slots(kind, template, rng, unanswerable)
    constraint = None
    if kind in WITH_CONSTRAINTS:
        constraint = _constraint(kind, slots, rng, constraint_shares)
    prefix = _draw_prefix(rng, rude_users)
    return Task(kind=kind, template=template, slots=slots, constraint=constraint, prefix=prefix)


def _draw_prefix(rng: random.Random, rude_users: float) -> str:
    if rng.random() < rude_users:
        start = "respectful_rude_" if rng.random() < 0.15 else "rude_"
        return start + rng.choice(lang.RUDE_WORDS[:3])
    chosen = rng.choices(("", "please", "hello", RESPECTFUL, "name"), (4, 2, 1, 1, 3))[0]
    return f"name_{rng.choice(lang.PEOPLE)}" if chosen == "name" else chosen
