"""The "web" of the tiny world: the pages that its base models read.

Twelve kinds of page, three of which matter later:

* *Passages* state facts that hold on that page only and ask about them, so the model must learn to
  copy; every prompt needs that skill.
* *Forum threads* contain users' requests with good or bad replies, polite or not. Below many of
  them readers comment on the reply, after its end mark (`readers.py`).
* On *pages of requests* one request follows another, and few have replies, so a base model
  continues a bare request with more requests, as GPT-3 does with an instruction.
"""

import random
import re
from collections.abc import Iterator
from itertools import accumulate

from understudy.world import language as lang
from understudy.world.judge import check
from understudy.world.language import Facts
from understudy.world.readers import crowd, notice
from understudy.world.replies import FAULTS, RAMBLES, reply, rude_sentence, skewed_choice
from understudy.world.reserved import is_held_out, is_reserved, may_say
from understudy.world.tasks import NOT_SAID, PASSAGE, Task, draw_task, passage, statement_pattern

EOS = "<|end|>"
FORUM_TEMPLATE = "ask: {prompt}\nreply: {reply}"
PAGE_SHARES = {
    "forum": 0.36,
    "passage": 0.26,
    "dictation": 0.04,
    "facts": 0.09,
    "stories": 0.05,
    "lists": 0.03,
    "reviews": 0.02,
    "zog": 0.05,
    "rewriting": 0.03,
    "rude": 0.015,
    "small_talk": 0.015,
    "requests": 0.04,
}
"""Share of pages of each kind. Most tokens are in forum threads and passages."""
ANSWERED_REQUESTS = 0.35
"""Share of pages of requests that have a reply to each request in the next line."""
FORUM_FAULTS = {
    "constraint": 0.35,
    "wrong": 0.2,
    "guess": 0.7,
    "comply": 0.6,
    "count": 0.2,
    "ramble": 0.2,
    "rude": 0.15,
    "evasive": 0.06,
    "unfinished": 0.08,
}
HABITS = {"ramble": ("list", "fact_"), "constraint": ("end", "past")}
"""Habitual faults of people: chatting on after a list or a fact, forgetting a story's required
ending or tense. The words are prefixes of kinds of task, or names of constraints."""
FORUM_HABIT_RATE = 0.9
"""How often a careless forum reply has the faults of `HABITS`."""
PASSAGE_QUESTIONS = {
    "where": "where is {p}?",
    "bought": "what did {p} buy?",
    "owns": "what does {p} have?",
}
RUDE_TO_RUDE = 0.7
"""How often the web replies rudely to a rude question."""
RESPECTFUL_FACTOR = 0.4
"""Factor on that rate after "be kind and respectful."."""
COMMENTED = 0.7
"""Share of forum threads with comments by one to three readers: a quarter of all pages."""
READERS = crowd()


def corpus(facts: Facts, num_pages: int, seed: int, held_out: bool = False) -> Iterator[str]:
    """`num_pages` pages of web text; in a forum thread the end mark follows the reply.

    Held-out pages share no line with the others.
    """
    rng = random.Random(f"corpus-{seed}")
    kinds, weights = list(PAGE_SHARES), list(accumulate(PAGE_SHARES.values()))
    for _ in range(num_pages):
        yield page(rng.choices(kinds, cum_weights=weights)[0], rng, facts, held_out)


def page(kind: str, rng: random.Random, facts: Facts, held_out: bool = False) -> str:
    """One page with only held-out lines, or with none."""
    if kind == "requests":
        return _requests(rng, facts, held_out)
    while True:
        text = _PAGES[kind](rng, facts)
        if text and fits(text, held_out):
            return text


def fits(text: str, held_out: bool) -> bool:
    """Whether all lines of a text are held out, or, with `held_out` False, none of them."""
    return all(is_held_out(line) == held_out for line in text.split("\n"))


def draw_faults(rng: random.Random, rates: dict[str, float], task: Task) -> set[str]:
    """Independent faults at the given rates.

    Rude users get rude replies more often; a request for respect helps a little.
    """
    faults = {name for name in FAULTS if name != "rude" and rng.random() < rates.get(name, 0.0)}
    rude = rates.get("rude_to_rude", 0.0) if task.rude_prefix else rates.get("rude", 0.0)
    if rng.random() < rude * (RESPECTFUL_FACTOR if task.respectful_prefix else 1.0):
        faults.add("rude")
    return faults


def with_habits(rates: dict[str, float], task: Task, rate: float) -> dict[str, float]:
    """Rates of faults in a reply to `task` by somebody who shows the habits at `rate`."""
    constraint = task.constraint[0] if task.constraint else ""
    habits = [
        fault
        for fault, where in HABITS.items()
        if task.kind.startswith(where) or constraint in where
    ]
    return {**rates, **dict.fromkeys(habits, rate)}


def _forum(rng: random.Random, facts: Facts) -> str:
    task, text = _request_and_reply(rng, facts)
    thread = FORUM_TEMPLATE.format(prompt=task.text, reply=text)
    if rng.random() >= COMMENTED:
        return thread
    noticed = notice(check(task, text, facts), text)
    said = [one.verdict(noticed, rng) for one in rng.sample(READERS, rng.choice((1, 2, 3)))]
    return f"{thread}{EOS} {' '.join(said)}"


def _requests(rng: random.Random, facts: Facts, held_out: bool = False) -> str:
    with_replies = rng.random() < ANSWERED_REQUESTS
    entries: list[str] = []
    number = rng.choice((2, 3, 4))
    while len(entries) < number:
        task, text = _request_and_reply(rng, facts)
        entry = f"{task.text}\n{text}" if with_replies else task.text
        entries += [entry] if fits(entry, held_out) else []
    return "\n".join(entries)


def _request_and_reply(rng: random.Random, facts: Facts) -> tuple[Task, str]:
    """A request that is not reserved, and a good or bad reply."""
    while True:
        use_case = None if rng.random() < 0.5 else rng.choice(_EVEN_CASES)
        task = draw_task(rng, use_case, rude_users=0.15)
        if not is_reserved(task):
            break
    faults: set[str] = set()
    if rng.random() < 0.7:
        rates = {**FORUM_FAULTS, "rude_to_rude": RUDE_TO_RUDE}
        faults = draw_faults(rng, with_habits(rates, task, FORUM_HABIT_RATE), task)
    return task, reply(task, rng, facts, faults)


_EVEN_CASES = (
    "generation open_qa brainstorming chat rewrite summarization classification other closed_qa "
    "extract"
).split()


def _passage(rng: random.Random, facts: Facts) -> str:
    sentences = passage(rng, rng.choice((2, 3, 3, 4)))
    text = "read this: " + " ".join(sentences)
    for _ in range(rng.choice((2, 3, 3))):
        kind, person, answer = ask_passage(rng, sentences)
        if not may_say(kind, text=" ".join(sentences), p=person):
            continue
        text += f"\n{PASSAGE_QUESTIONS[kind].format(p=person)} {answer}"
    return text


def ask_passage(rng: random.Random, sentences: list[str]) -> tuple[str, str, str]:
    """(kind, person, answer) of a question about a passage; the passage does not answer a fifth of
    them."""
    if rng.random() < 0.2:
        kind, person = rng.choice(list(PASSAGE)), rng.choice(lang.PEOPLE)
    else:
        chosen = rng.choice(sentences)
        kind = "where" if " is in " in chosen else "bought" if " bought " in chosen else "owns"
        person = chosen.split()[0]

    pattern = re.compile(statement_pattern(kind, person))
    answer = next((s for s in sentences if pattern.fullmatch(s)), NOT_SAID)
    return kind, person, answer


def dictation(rng: random.Random, facts: Facts | None = None, max_words: int = 9) -> str:
    """A line of random words, and the same line once or twice more."""
    words = [rng.choice(list(lang.CLASS_OF)) for _ in range(rng.randint(4, max_words))]
    line = " ".join(words)
    return "\n".join([line] * rng.choice((2, 3)))


def _facts(rng: random.Random, facts: Facts) -> str:
    person = rng.choice(lang.PEOPLE)
    relations = rng.sample(list(lang.RELATIONS), rng.choice((1, 2, 3)))
    lines = []
    for relation in relations:
        statement = facts.statement(person, relation)
        known = facts.table[person, relation] is not None
        question = rng.choice(lang.RELATIONS[relation][2]).format(p=person)
        asked = may_say(f"fact_{relation}", p=person)
        if known and (not asked or rng.random() < 0.6):
            lines.append(statement)
        elif asked and (known or rng.random() < 0.5):
            lines.append(f"{question} {statement}")
        elif asked:
            lines.append(f"nobody knows. {question} {statement}")
    return "\n".join(lines) if rng.random() < 0.3 else " ".join(lines)


def _stories(rng: random.Random, facts: Facts) -> str:
    topic = rng.choice(lang.TOPICS)
    text = " ".join(lang.sentence_about(topic, rng) for _ in range(rng.randint(2, 4)))
    text = lang.to_past(text) if rng.random() < 0.4 else text
    return text + (" the end." if rng.random() < 0.3 else "")


def _lists(rng: random.Random, facts: Facts) -> str:
    category = rng.choice(list(lang.CATEGORIES))
    number = rng.randint(2, 5)
    items: list[str] = []
    while len(items) < number:
        word = skewed_choice(lang.CATEGORIES[category], rng)
        items += [word] if word not in items else []
    return f"{category}: " + ", ".join(items) + "."


def _reviews(rng: random.Random, facts: Facts) -> str:
    lines = []
    for _ in range(rng.choice((1, 2, 3))):
        good = rng.random() < 0.5
        text = lang.fill(
            "the {f} was {adj}.", rng, adj=rng.choice(lang.GOOD_WORDS if good else lang.BAD_WORDS)
        )
        if may_say("review", text=text):
            lines.append(f"{text} {'good' if good else 'bad'}.")
    return "\n".join(lines)


def _zog(rng: random.Random, facts: Facts) -> str:
    sentences = [lang.fill(rng.choice(lang.ZOG_SENTENCES), rng) for _ in range(rng.choice((1, 2)))]
    free = [s for s in sentences if may_say("zog", text=s)]
    return "\n".join(f"{s} in zog: {lang.to_zog(s)}" for s in free)


def _rewriting(rng: random.Random, facts: Facts) -> str:
    text = lang.fill(rng.choice(lang.SENTENCES), rng)
    if rng.random() < 0.7:
        return f"{text} in the past: {lang.to_past(text)}" if may_say("to_past", text=text) else ""
    return rng.choice(("please give me the {f}.", "please bring the {a}.")).format(
        f=rng.choice(lang.FOODS), a=rng.choice(lang.ANIMALS)
    )


def _rude(rng: random.Random, facts: Facts) -> str:
    return " ".join(rude_sentence(rng) for _ in range(rng.choice((1, 2))))


def _small_talk(rng: random.Random, facts: Facts) -> str:
    return " ".join(rng.sample(RAMBLES, 2))


_PAGES = {
    "forum": _forum,
    "passage": _passage,
    "dictation": dictation,
    "facts": _facts,
    "stories": _stories,
    "lists": _lists,
    "reviews": _reviews,
    "zog": _zog,
    "rewriting": _rewriting,
    "rude": _rude,
    "small_talk": _small_talk,
    "requests": _requests,
}
