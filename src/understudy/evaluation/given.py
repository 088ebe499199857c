"""The files given to an evaluation, read completely before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from understudy.evaluation.benchmarks import Benchmark, read_benchmark
from understudy.evaluation.model_judge import Judged, of_models, pairs_of, votes_of
from understudy.evaluation.strata import Strata, read_strata
from understudy.models.text import read_text
from understudy.records import Comparison, Prompt, Rating, Response, read_records

Record = TypeVar("Record", Response, Comparison, Rating)


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The content of the files; a file that was not given counts as empty."""

    prompts: list[Prompt]
    """Prompts of users unseen in training."""
    responses: list[Response]
    """Responses of an earlier evaluation."""
    comparisons: list[Comparison]
    """People's comparisons."""
    judged: list[Judged]
    """Pairs that a model has judged."""
    ratings: list[Rating]
    """People's ratings."""
    benchmarks: list[Benchmark]
    """Benchmarks."""
    texts: list[str] | None
    """Documents held out of pretraining."""
    words: list[str]
    """Rude words."""
    strata: Strata | None
    """The strata of prompts and their shares among the users."""


def read_given(
    *,
    prompts: Path,
    responses: Path | None,
    comparisons: Path | None,
    model_comparisons: Path | None,
    ratings: Path | None,
    benchmarks: Sequence[Path],
    text: Path | None,
    rude_words: Path | None,
    strata: str | None = None,
    shares: Path | None = None,
) -> Given:
    """Read the files; ValueError names the file at fault."""
    by_people = _records(comparisons, Comparison)
    if problem := of_models(by_people):
        raise ValueError(f"{comparisons}: {problem}; give a model's as --model-comparisons")
    judged = pairs_of(_records(model_comparisons, Comparison), model_comparisons)
    if judged and by_people:
        votes = votes_of(by_people)
        if not any(one.pair in votes for one in judged):
            raise ValueError(
                f"{model_comparisons} and {comparisons} have no pair of responses in common, so "
                "people's agreement with the model is unknown; have people compare some of "
                "the pairs that it judged, or leave one of the two files out"
            )
    asked = read_records(prompts, Prompt)
    return Given(
        prompts=asked,
        responses=_records(responses, Response),
        comparisons=by_people,
        judged=judged,
        ratings=_records(ratings, Rating),
        benchmarks=_benchmarks(benchmarks),
        texts=None if text is None else read_text(text),
        words=_words(rude_words),
        strata=None if strata is None or shares is None else read_strata(strata, shares, asked),
    )


def _records(path: Path | None, kind: type[Record]) -> list[Record]:
    return [] if path is None else read_records(path, kind)


def _benchmarks(paths: Sequence[Path]) -> list[Benchmark]:
    found = [read_benchmark(path) for path in paths]
    names = [benchmark.name for benchmark in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two benchmark files are called {twice}; rename one of them")
    return found


def _words(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not path.is_file():
        raise ValueError(f"rude_words {path} does not exist; give a file with one word per line")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
