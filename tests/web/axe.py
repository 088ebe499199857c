"""What is asked of every page in every state: axe finds nothing grave, nothing scrolls sideways."""

from typing import Any

import pytest

GRAVE = ("serious", "critical")
RULES = {"resultTypes": ["violations"]}
looks = pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])


def check(page: Any) -> None:
    """What axe says is grave; and the page is no wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options=RULES).response["violations"]
    grave = [
        f"{page.url}: {one['id']}: {one['help']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
    assert not grave, "\n".join(grave)
    scrolls = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(scrolls) <= 0, f"{page.url} scrolls sideways"
