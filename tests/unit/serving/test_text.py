"""Text as it comes: never half a character, never the start of a stop sequence."""

from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures_models import make_tokenizer

from understudy.serving.text import TextStream

TOKENIZER = make_tokenizer()
TEXTS = st.text(st.sampled_from("ab .\n\u00e9\u2713\U0001f600STOP"), max_size=30)


def pieces(text: str, stops: list[str], strip: bool) -> tuple[list[str], bool]:
    stream = TextStream(TOKENIZER, stops, strip=strip)
    found = []
    for token in TOKENIZER(text)["input_ids"]:
        found.append(stream.push(token))
        if stream.stopped:
            break
    return [*found, stream.finish()], stream.stopped


@given(TEXTS, st.booleans())
def test_the_pieces_make_the_text(text: str, strip: bool) -> None:
    found, stopped = pieces(text, [], strip)
    assert "".join(found) == (text.strip() if strip else text)
    assert not stopped
    assert not any("\ufffd" in piece for piece in found)


@given(TEXTS, st.lists(st.text(st.sampled_from("abST OP."), min_size=1, max_size=4), max_size=3))
def test_nothing_at_or_after_a_stop_is_said(text: str, stops: list[str]) -> None:
    found, stopped = pieces(text, stops, strip=False)
    places = [text.find(stop) for stop in stops if stop in text]
    assert stopped == bool(places)
    said = "".join(found)
    assert text.startswith(said)
    assert not any(stop in said for stop in stops)
