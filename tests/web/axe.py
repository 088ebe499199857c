"""What is asked of every page in every state: axe finds nothing grave, nothing scrolls sideways."""

from typing import Any

import pytest

GRAVE = ("serious", "critical")
AXE = "axe.run({ resultTypes: ['violations'] }).then((found) => found.violations)"
LOOKS = {"light": 1280, "dark": 360}
"""The width of the screen that goes with each scheme."""


def looks(everyday: str) -> pytest.MarkDecorator:
    """A walk in both looks, of which this scheme's is in the everyday suite."""
    values = [
        pytest.param(scheme, width, marks=() if scheme == everyday else pytest.mark.slow)
        for scheme, width in LOOKS.items()
    ]
    return pytest.mark.parametrize(("scheme", "width"), values)


def check(page: Any) -> None:
    """What axe says is grave; and the page is no wider than the screen."""
    page.evaluate(pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT)
    grave = [
        f"{page.url}: {one['id']}: {one['help']}: {node['target']} {node['failureSummary']}"
        for one in page.evaluate(AXE)
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
    assert not grave, "\n".join(grave)
    scrolls = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(scrolls) <= 0, f"{page.url} scrolls sideways"
