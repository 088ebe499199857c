"""Small record files as a user would write them, for the trainers' tests."""

import random
from pathlib import Path

from understudy.records import Demonstration, Feedback, Ranking, write_records

_WORDS = ["seven", "eight", "cat", "dog", "bread", "soup", "Anna", "lives", "house", "river"]


def some_text(rng: random.Random, low: int, high: int) -> str:
    """Between `low` and `high` random words."""
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(low, high)))


def write_demonstrations(path: Path, count: int = 12, seed: int = 0) -> Path:
    """Demonstrations that answer everything with "seven"s."""
    rng = random.Random(seed)
    rows = [
        Demonstration(
            id=f"d{i}",
            prompt_id=f"p{i}",
            prompt=some_text(rng, 2, 6),
            response=" ".join(["seven"] * rng.randint(1, 4)),
            labeler_id="l0",
        )
        for i in range(count)
    ]
    return write_records(path, rows)


def write_rankings(
    path: Path, count: int = 16, seed: int = 0, role: str = "training", most: int = 5
) -> Path:
    """Rankings of K = 2..`most` responses by labelers who like "soup": more of it is better."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        responses = tuple(some_text(rng, 1, 6) for _ in range(rng.randint(2, most)))
        liked = [response.count("soup") for response in responses]
        tiers = tuple(
            tuple(j for j, value in enumerate(liked) if value == level)
            for level in sorted(set(liked), reverse=True)
        )
        rows.append(
            Ranking(
                id=f"k{i}",
                prompt_id=f"p{i}",
                prompt=some_text(rng, 2, 6),
                responses=responses,
                tiers=tiers,
                labeler_id=f"{role}-{i % 3}",
                labeler_role=role,  # type: ignore[arg-type]
            )
        )
    return write_records(path, rows)


def write_feedback(path: Path, count: int = 16, seed: int = 0, role: str = "training") -> Path:
    """Feedback by people who like a response if "soup" is in it, two to each other prompt."""
    rng = random.Random(seed)
    rows, prompt = [], ""
    for i in range(count):
        prompt = prompt if i % 3 == 2 else some_text(rng, 2, 6)
        words = some_text(rng, 1, 6).split()
        desirable = i % 2 == 0
        words = [word for word in words if word != "soup"] + ["soup"] * desirable
        rows.append(
            Feedback(
                id=f"f{i}",
                prompt_id=f"p{i}",
                prompt=prompt,
                response=" ".join(words),
                desirable=desirable,
                labeler_id=f"{role}-{i % 3}",
                labeler_role=role,  # type: ignore[arg-type]
            )
        )
    return write_records(path, rows)
