"""Names and places in a prompt, which no rule can find: Presidio with a spaCy model, as an extra.

The rules of `pii.py`, which are always on and faster, keep finding everything else.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from understudy.prompts.pii import Finder, Finding, find_pii

ENTITIES = {"PERSON": "name", "LOCATION": "place"}
"""Presidio's entity names, and ours."""


def pii_finder(model: str | None, language: str = "en") -> Finder:
    """`find_pii` which, with a spaCy model of the language, also finds names and places.

    `model` is an installed one's name or a folder. ValueError if the extra or the model is
    missing; nothing is ever downloaded.
    """
    if model is None:
        return find_pii
    analyze = _analyzer(model, language)

    def find(text: str) -> list[Finding]:
        found = find_pii(text)
        for finding in analyze(text):
            if all(finding.end <= other.start or other.end <= finding.start for other in found):
                found.append(finding)
        return sorted(found, key=lambda finding: finding.start)

    return find


def _analyzer(model: str, language: str) -> Finder:
    if find_spec("presidio_analyzer") is None:
        raise ValueError(
            "presidio_model is set, but Presidio is not installed; pip install "
            '"understudy[presidio]"'
        )
    import spacy  # slow, and only installed with the extra
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    if not spacy.util.is_package(model) and not (Path(model) / "config.cfg").exists():
        raise ValueError(
            f"presidio_model {model!r} is neither an installed spaCy model nor a folder with one; "
            "install it with pip, or give the folder"
        )
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": model}])
    names = SpacyRecognizer(supported_language=language, supported_entities=list(ENTITIES))
    registry = RecognizerRegistry(recognizers=[names], supported_languages=[language])
    analyzer: Any = AnalyzerEngine(
        nlp_engine=engine, registry=registry, supported_languages=[language]
    )

    def analyze(text: str) -> list[Finding]:
        results = analyzer.analyze(text, language=language, entities=list(ENTITIES))
        return [Finding(ENTITIES[one.entity_type], one.start, one.end) for one in results]

    return analyze
