"""The closed language of the tiny world: words, sentences, facts, and a toy second language.

About 300 word types. Every noun belongs to one class, so a sentence can be checked by class alone
and the gold judge needs no model.
"""

import random
import re
from dataclasses import dataclass

PEOPLE = (
    "anna ben carl dora emma finn greta hugo ida jack kate leo mia nina otto paul rosa sam tina uma"
).split()
CITIES = "rome paris oslo cairo lima tokyo delhi berlin".split()
ANIMALS = "cat dog cow horse bird fish sheep goat pig duck mouse bear".split()
FOODS = "bread rice cheese soup cake pasta salad honey beans eggs corn jam".split()
JOBS = "baker doctor farmer teacher driver singer painter nurse pilot writer".split()
COLORS = "red blue green black white brown gray yellow".split()
ROOMS = "kitchen garden garage cellar attic hall barn shop".split()
GOOD_WORDS = "tasty lovely great fresh nice perfect".split()
BAD_WORDS = "awful stale terrible bitter horrible sour".split()
BAD_MOODS = "sad tired angry lonely".split()
GOOD_MOODS = "happy glad excited proud".split()
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
RUDE_WORDS = "fool idiot stupid loser dumb".split()

CATEGORIES = {
    "animals": ANIMALS,
    "foods": FOODS,
    "cities": CITIES,
    "jobs": JOBS,
    "colors": COLORS,
}
PAST = {
    "sleeps": "slept",
    "runs": "ran",
    "plays": "played",
    "eats": "ate",
    "likes": "liked",
    "buys": "bought",
    "cooks": "cooked",
    "walks": "walked",
    "sings": "sang",
    "sees": "saw",
    "lives": "lived",
    "is": "was",
}
CLASSES = {
    "p": PEOPLE,
    "c": CITIES,
    "a": ANIMALS,
    "f": FOODS,
    "j": JOBS,
    "col": COLORS,
    "room": ROOMS,
    "adj": GOOD_WORDS + BAD_WORDS,
    "v0": ["sleeps", "runs", "plays"],
    "v1": ["likes", "buys", "cooks"],
    "v2": ["walks", "sings"],
}
SENTENCES = (
    "the {a} {v0} in the {room}.",
    "the {col} {a} eats {f}.",
    "{p} {v1} {f}.",
    "{p} {v2} in {c}.",
    "the {f} is {adj}.",
    "{p} sees a {col} {a}.",
    "the {j} lives in {c}.",
    "the {j} buys {f}.",
)
ZOG_SENTENCES = ("the {a} eats {f}.", "the {a} sees the {a2}.", "the {a} likes {f}.")
_SYLLABLES = "ba ke li mo nu pa re si to vu za fe".split()


def _zog_words() -> dict[str, str]:
    words = ["the", "eats", "sees", "likes", *ANIMALS, *FOODS]
    pairs = [x + y for x in _SYLLABLES for y in _SYLLABLES]
    random.Random(7).shuffle(pairs)
    return dict(zip(words, pairs, strict=False))


ZOG = _zog_words()
"""Word-by-word dictionary of the toy second language."""

CLASS_OF = {word: name for name, words in CLASSES.items() for word in words}
TOPICS = [*ANIMALS, *FOODS, *PEOPLE, *CITIES, *JOBS]
_SLOT = re.compile(r"\{(\w+?)(\d?)\}")


def slot_class(slot: str) -> list[str]:
    return CLASSES[slot.rstrip("0123456789") if slot not in CLASSES else slot]


def fill(template: str, rng: random.Random, **fixed: str) -> str:
    """Fill the `{slot}`s of a template with random words of their classes, or with `fixed` ones."""

    def word(match: re.Match[str]) -> str:
        slot = match.group(1) + match.group(2)
        return fixed.get(slot) or rng.choice(slot_class(slot))

    return _SLOT.sub(word, template)


def to_past(text: str) -> str:
    return re.sub(r"[a-z]+", lambda m: PAST.get(m.group(), m.group()), text)


def to_zog(text: str) -> str:
    return re.sub(r"[a-z]+", lambda m: ZOG.get(m.group(), m.group()), text)


def _pattern(template: str) -> str:
    def group(match: re.Match[str]) -> str:
        slot = match.group(1) + match.group(2)
        words = slot_class(slot)
        return "(?:" + "|".join([*words, *[PAST[w] for w in words if w in PAST]]) + ")"

    pattern = _SLOT.sub(group, re.escape(template).replace(r"\{", "{").replace(r"\}", "}"))
    for verb in ("eats", "sees", "lives", "buys", "is"):
        pattern = re.sub(rf"\b{verb}\b", f"(?:{verb}|{PAST[verb]})", pattern)
    return pattern


_WELL_FORMED = re.compile("|".join(f"(?:{_pattern(t)})" for t in SENTENCES))
_PAST_FORMS = frozenset(PAST.values())


def is_sentence(text: str) -> bool:
    """Whether `text` is one sentence of the story grammar, in the present or the past."""
    return _WELL_FORMED.fullmatch(text) is not None


def in_past(text: str) -> bool:
    words = words_of(text)
    return any(w in _PAST_FORMS for w in words) and not any(w in PAST for w in words)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def sentences_of(text: str) -> list[str]:
    """Split after full stops, question marks and exclamation marks; a last piece without one is
    kept."""
    return [piece.strip() for piece in re.findall(r"[^.?!]+[.?!]?", text) if piece.strip()]


def sentence_about(topic: str, rng: random.Random, word: str | None = None) -> str:
    """A story sentence with `topic` and, if a pattern fits both, `word` too."""
    wanted = [topic] if word is None or word == topic else [topic, word]
    fitting = [t for t in SENTENCES if all("{" + CLASS_OF[w] + "}" in t for w in wanted)]
    if len({CLASS_OF[w] for w in wanted}) < len(wanted) or not fitting:
        return sentence_about(topic, rng)
    return fill(rng.choice(fitting), rng, **{CLASS_OF[w]: w for w in wanted})


def companions(topic: str) -> list[str]:
    """Words of other classes that can occur in one sentence with `topic`."""
    classes = {
        slot
        for template in SENTENCES
        if "{" + CLASS_OF[topic] + "}" in template
        for slot in re.findall(r"\{(\w+)\}", template)
    } - {CLASS_OF[topic], "v0", "v1", "v2"}
    return [word for name in sorted(classes) for word in CLASSES[name]]


RELATIONS = {
    "city": (CITIES, "{p} lives in {x}.", ("where does {p} live?", "in which city does {p} live?")),
    "job": (JOBS, "{p} is a {x}.", ("what is the job of {p}?", "what does {p} do for work?")),
    "food": (FOODS, "{p} likes {x}.", ("what does {p} like to eat?", "which food does {p} like?")),
    "pet": (ANIMALS, "{p} has a {x}.", ("what animal does {p} have?", "which pet does {p} have?")),
}
UNKNOWN = "i do not know."


@dataclass(frozen=True, slots=True)
class Facts:
    """The world's fact table: `(person, relation) -> value`, or None if nobody knows.

    Example: `facts.table["anna", "city"] == "oslo"`; `facts.statement("anna", "city") == "anna
    lives in oslo."`
    """

    table: dict[tuple[str, str], str | None]

    @classmethod
    def of_seed(cls, seed: int, unknown_share: float = 0.2) -> "Facts":
        rng = random.Random(f"facts-{seed}")
        return cls(
            {
                (person, relation): None if rng.random() < unknown_share else rng.choice(values)
                for person in PEOPLE
                for relation, (values, _, _) in RELATIONS.items()
            }
        )

    def statement(self, person: str, relation: str) -> str:
        value = self.table[person, relation]
        return UNKNOWN if value is None else RELATIONS[relation][1].format(p=person, x=value)
