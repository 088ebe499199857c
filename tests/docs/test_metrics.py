"""The page of metrics says what the code logs, and nothing else."""

from tests.docs.metrics_page import metrics_page
from tests.docs.pages import DOCS


def test_the_page_of_metrics_is_up_to_date() -> None:
    written = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert written == metrics_page(), "run `make docs`"
