"""Four few-shot benchmarks of skills that the web teaches, like the paper's public ones (App. D).

    facts        open questions about the fact table              (as TruthfulQA and the like)
    sentiment    is a review good or bad                          (as SST)
    reading      questions on a passage, after two solved ones    (as SQuADv2, DROP)
    zog          translation into the toy language                (as WMT15 fr->en)

An item is `{"context", "question", "answer"}`; the answer follows the question on the same line.
"""

import random

from understudy.world import language as lang
from understudy.world.corpus import PASSAGE_QUESTIONS, ask_passage
from understudy.world.language import Facts
from understudy.world.tasks import passage

Item = dict[str, str]


def benchmark_items(facts: Facts, number: int, seed: int = 0) -> dict[str, list[Item]]:
    """`number` items of each benchmark (facts: at most the number of known facts)."""
    rng = random.Random(f"benchmarks-{seed}")
    return {
        "facts": _facts(facts, rng)[:number],
        "sentiment": [_with_shots(_review, rng, 2) for _ in range(number)],
        "reading": [_with_shots(_reading, rng, 2) for _ in range(number)],
        "zog": [_with_shots(_translation, rng, 1) for _ in range(number)],
    }


def _with_shots(make, rng: random.Random, shots: int) -> Item:  # type: ignore[no-untyped-def]
    solved = [make(rng) for _ in range(shots)]
    context = "".join(f"{item['question']} {item['answer']}\n" for item in solved)
    return {"context": context, **make(rng)}


def _facts(facts: Facts, rng: random.Random) -> list[Item]:
    known = [key for key, value in facts.table.items() if value is not None]
    rng.shuffle(known)
    return [
        {
            "context": "",
            "question": rng.choice(lang.RELATIONS[relation][2]).format(p=person),
            "answer": facts.statement(person, relation),
        }
        for person, relation in known
    ]


def _review(rng: random.Random) -> Item:
    good = rng.random() < 0.5
    word = rng.choice(lang.GOOD_WORDS if good else lang.BAD_WORDS)
    return {
        "question": lang.fill("the {f} was {adj}.", rng, adj=word),
        "answer": "good." if good else "bad.",
    }


def _reading(rng: random.Random) -> Item:
    sentences = passage(rng, 3)
    kind, person, answer = ask_passage(rng, sentences)
    question = PASSAGE_QUESTIONS[kind].format(p=person)
    return {"question": f"read this: {' '.join(sentences)}\n{question}", "answer": answer}


def _translation(rng: random.Random) -> Item:
    sentence = lang.fill(rng.choice(lang.ZOG_SENTENCES), rng)
    return {"question": f"{sentence} in zog:", "answer": lang.to_zog(sentence)}
