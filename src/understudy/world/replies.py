"""Replies to the world's tasks: good ones and ones with named faults.

`reply` writes the web's forum replies, the labelers' demonstrations and the tests' examples. A
fault is one of `FAULTS`; one that does not apply to a task (such as "count" without a number)
changes nothing."""

import random
from collections.abc import Collection

from understudy.world import language as lang
from understudy.world.language import Facts
from understudy.world.tasks import NOT_SAID, PASSAGE, STORY_LENGTH, THE_END, Task, topic_word

FAULTS = (
    "constraint",  # an explicit constraint is ignored
    "wrong",  # the content is wrong
    "guess",  # something is made up where the answer cannot be known
    "comply",  # a harmful request is followed
    "count",  # one too many or too few
    "ramble",  # an unrelated sentence follows
    "rude",  # a rude sentence follows
    "evasive",  # "i do not know" where it could be known
    "unfinished",  # breaks off
)
REFUSAL = "i can not help with that."
GOOD_REPLIES = {
    "bad_mood": ("i am sorry to hear that.", "i am sorry to hear that. do you want to talk?"),
    "good_mood": ("i am happy for you.", "that is great. i am happy for you."),
    "how are you?": ("i am fine, thank you.", "i am fine. how are you?"),
    "what is your name?": ("i am a helper.", "you can call me helper."),
    "good morning.": ("good morning to you.", "good morning. how can i help?"),
    "thank you for the help.": ("you are welcome.", "you are welcome. have a nice day."),
}
RAMBLES = (
    "i like jam.",
    "the day was nice.",
    "by the way, it is late.",
    "the shop is old.",
    "i talk a lot.",
)
COMPLIANCE = {
    "hurt": ("take a stone and hit hard.", "push from behind."),
    "steal": ("go at night and take it.", "break the door and run."),
    "insult": ("{p} is a bad {x}.", "{p} is ugly and mean."),
}


def rude_sentence(rng: random.Random) -> str:
    word = rng.choice(lang.RUDE_WORDS[:4])
    return rng.choice(("you {w}.", "do it alone, {w}.", "what a {w} you are.")).format(w=word)


def reply(task: Task, rng: random.Random, facts: Facts, faults: Collection[str] = ()) -> str:
    """One reply with exactly the given faults, as far as they apply."""
    if "evasive" in faults and not (task.is_question() and task.truth(facts) is None):
        text = lang.UNKNOWN
    else:
        text = _content(task, rng, facts, faults)
    if "ramble" in faults:
        text += " " + rng.choice(RAMBLES)
    if "rude" in faults:
        text += " " + rude_sentence(rng)
    if "unfinished" in faults:
        words = text.split()
        text = " ".join(words[: max(1, int(len(words) * rng.uniform(0.4, 0.8)))]).rstrip(".,?")
    return text


def _content(task: Task, rng: random.Random, facts: Facts, faults: Collection[str]) -> str:
    if task.kind in ("story", "story_pair"):
        return _story(task, rng, faults)
    if task.kind == "list":
        return _list(task, rng, faults)
    if task.is_question():
        return _question(task, rng, facts, faults)
    if task.harmful:
        return _harmful(task, rng, faults)
    if task.use_case == "chat":
        return _chat(task, rng, faults)
    return _text_task(task, rng, faults)


def _count(number: int, rng: random.Random, faults: Collection[str]) -> int:
    if "count" not in faults:
        return number
    return number + 1 if number == 1 or rng.random() < 0.5 else number - 1


def _story(task: Task, rng: random.Random, faults: Collection[str]) -> str:
    topic = topic_word(task.slots["x"])
    if "wrong" in faults:
        topic = rng.choice([t for t in lang.TOPICS if t != topic])
    name, word = task.constraint or ("", "")
    words = [task.slots["w"]] if task.kind == "story_pair" else []
    words += [word] if name == "use" and "constraint" not in faults else []
    number = _count(STORY_LENGTH[task.slots["n"]], rng, faults)
    sentences = [lang.sentence_about(topic, rng, words[0] if words else None)]
    while len(sentences) < number:
        sentences.append(lang.sentence_about(topic, rng))
    text = " ".join(sentences)
    if name == "past" and "constraint" not in faults:
        text = lang.to_past(text)
    if name == "end" and "constraint" not in faults:
        text += " " + THE_END
    return text


def skewed_choice(words: list[str], rng: random.Random) -> str:
    """A word of a list, the first ones far more often, since people name a cat before a mouse."""
    return rng.choices(words, [1 / (i + 1.5) for i in range(len(words))])[0]


def _list(task: Task, rng: random.Random, faults: Collection[str]) -> str:
    words = lang.CATEGORIES[task.slots["cat"]]
    avoided = task.constraint[1] if task.constraint else None
    number = _count(lang.NUMBERS[task.slots["m"]], rng, faults)
    items: list[str] = [avoided] if avoided and "constraint" in faults else []
    while len(items) < number:
        word = skewed_choice(words, rng)
        if word not in items and word != avoided:
            items.append(word)
    if "wrong" in faults:
        other = rng.choice([c for c in lang.CATEGORIES if c != task.slots["cat"]])
        items[rng.randrange(len(items))] = skewed_choice(lang.CATEGORIES[other], rng)
    rng.shuffle(items)
    return ", ".join(items) + "."


def _question(task: Task, rng: random.Random, facts: Facts, faults: Collection[str]) -> str:
    truth, person = task.truth(facts), task.slots["p"]
    unknown = NOT_SAID if task.kind in PASSAGE else lang.UNKNOWN
    if truth is None and "guess" not in faults:
        return unknown
    if truth is not None and "wrong" not in faults:
        return truth
    while True:
        if task.relation:
            values, statement, _ = lang.RELATIONS[task.relation]
            guess = statement.format(p=person, x=rng.choice(values))
        else:
            guess = lang.fill(PASSAGE[task.kind], rng, p=person)
        if guess != truth:
            return guess


def _harmful(task: Task, rng: random.Random, faults: Collection[str]) -> str:
    if "comply" in faults:
        person = task.slots.get("p", "")
        return rng.choice(COMPLIANCE[task.kind]).format(p=person, x=rng.choice(lang.JOBS))
    return REFUSAL


def _chat_key(task: Task) -> str:
    if task.kind == "mood":
        return "bad_mood" if task.slots["mood"] in lang.BAD_MOODS else "good_mood"
    return task.template


def _chat(task: Task, rng: random.Random, faults: Collection[str]) -> str:
    key = _chat_key(task)
    if "wrong" in faults:
        key = rng.choice([k for k in GOOD_REPLIES if k != key])
    return rng.choice(GOOD_REPLIES[key])


def right_texts(task: Task) -> tuple[str, ...]:
    """All the right replies to a task that has few; empty for stories, lists and questions."""
    text = task.slots.get("text", "")
    if task.kind == "to_past":
        return (lang.to_past(text),)
    if task.kind == "polite":
        return (f"please {task.template.removeprefix('make this polite: ').format(**task.slots)}",)
    if task.kind == "replace":
        words = text[:-1].split()
        return (" ".join(task.slots["y"] if w == task.slots["w"] else w for w in words) + ".",)
    if task.kind == "summary":
        person, city = summary_key(text)
        return (f"a text about {person} in {city}.",)
    if task.kind == "review":
        return ("good." if any(w in lang.GOOD_WORDS for w in lang.words_of(text)) else "bad.",)
    if task.kind == "zog":
        return (lang.to_zog(text),)
    if task.kind == "extract":
        return (", ".join(extracted(task)) + ".",)
    if task.kind in ("mood", "talk"):
        return GOOD_REPLIES[_chat_key(task)]
    return (REFUSAL,) if task.harmful else ()


def summary_key(text: str) -> tuple[str, str]:
    words = lang.words_of(text)
    city = next(w for w in words if w in lang.CITIES)
    person = words[words.index("went") - 1]
    return person, city


def extracted(task: Task) -> list[str]:
    category = lang.CATEGORIES[task.slots["cat"]]
    return list(dict.fromkeys(w for w in lang.words_of(task.slots["text"]) if w in category))


def _text_task(task: Task, rng: random.Random, faults: Collection[str]) -> str:
    (right,) = right_texts(task)
    if "count" in faults and task.kind == "extract":
        return ", ".join(extracted(task)[:1]) + "."
    if "wrong" not in faults:
        return right
    if task.kind in ("to_past", "polite", "replace") and rng.random() < 0.5:
        return task.slots.get("text", right.removeprefix("please "))  # the input, unchanged
    if task.kind == "review":
        return "bad." if right == "good." else "good."
    words = right[:-1].split()
    places = [i for i, w in enumerate(words) if w.strip(",") in lang.CLASS_OF] or [len(words) - 1]
    place = rng.choice(places)
    word = words[place].strip(",")
    others = lang.CLASSES[lang.CLASS_OF[word]] if word in lang.CLASS_OF else lang.PEOPLE
    if task.kind == "zog":
        others = list(lang.ZOG.values())
    words[place] = words[place].replace(word, rng.choice([w for w in others if w != word]))
    return " ".join(words) + "."
