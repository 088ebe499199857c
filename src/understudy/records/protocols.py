"""Interfaces of a labeler and a judge; people, simulations and models implement them."""

from collections.abc import Sequence
from typing import Protocol

from understudy.records.schema import (
    Comparison,
    Conversation,
    Demonstration,
    Judgment,
    LabelerInfo,
    Prompt,
    Ranking,
    Rating,
    Response,
)


class Labeler(Protocol):
    """Someone who demonstrates, rates, ranks and compares; None means skipped as unclear (s3.3)."""

    @property
    def info(self) -> LabelerInfo:
        """The labeler's id and role."""

    def demonstrate(self, prompt: Prompt) -> Demonstration | None:
        """The response that this labeler would want, or None to skip."""

    def rate(self, prompt: Prompt, response: Response) -> Rating:
        """Likert 1-7 and flags for one response on its own."""

    def rank(self, prompt: Prompt, responses: Sequence[Response]) -> Ranking | None:
        """The order of several responses, ties allowed, or None to skip."""

    def compare(self, prompt: Prompt, first: Response, second: Response) -> Comparison:
        """Which of two responses is preferred."""


class Judge(Protocol):
    """Something that knows how good a response truly is."""

    def score(self, prompt: Conversation, response: str) -> Judgment:
        """The judgment of one response."""
