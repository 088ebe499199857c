"""The picture of the record chain is the one that is drawn now."""

from tests.docs.chain_picture import picture
from tests.docs.pages import DOCS


def test_the_picture_is_up_to_date() -> None:
    written = (DOCS / "record_chain.svg").read_text(encoding="utf-8")
    assert written == picture(), "run `make docs`"
