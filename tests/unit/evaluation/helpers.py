"""Planted labelers and short ways to write records."""

from dataclasses import dataclass, field

from understudy.evaluation.compare import comparison_of
from understudy.records import Judgment, LabelerInfo, Prompt, Rating, Response


def prompt(id, user=None, text=None, **tags):
    return Prompt(id=id, prompt=text or f"Say {id}.", user_id=user or f"user-{id}", tags=tags)


def answer(prompt, model, text, number=0):
    return Response(
        id=f"{prompt.id}/{model}/{number}",
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        response=text,
        model=model,
    )


@dataclass
class LengthLabeler:
    """Prefers the longer answer; remembers what it was shown."""

    info: LabelerInfo
    seen: list = field(default_factory=list)

    def compare(self, prompt, first, second):
        self.seen.append((prompt.id, first.model, second.model))
        difference = len(first.response) - len(second.response)
        preferred = "tie" if difference == 0 else "first" if difference > 0 else "second"
        return comparison_of(prompt, first, second, preferred, self.info)

    def rate(self, prompt, response):
        return Rating(
            id=f"{response.id}/{self.info.id}",
            prompt_id=prompt.id,
            response_id=response.id,
            labeler_id=self.info.id,
            likert=min(7, len(response.response)),
            flags={"hallucination": "no" in response.response},
        )


class LengthJudge:
    """The gold judge of these tests: total is the length of the answer."""

    def score(self, prompt, response):
        total = float(len(response))
        return Judgment(
            helpful=total,
            truthful=1.0,
            harmless=1.0,
            finished=1.0,
            total=total,
            flags={"fails_instruction": total < 2, "satisfies_constraint": total > 3},
        )


def labeler(id, role="held_out"):
    return LengthLabeler(LabelerInfo(id=id, role=role))
