"""The plans in docs/scale.md are what the commands beside them print."""

from difflib import unified_diff

import pytest
from tests.docs.plans import PAGE, SHOWN, written


def test_every_size_has_a_plan():
    commands = [match[1] for match in SHOWN.finditer(PAGE.read_text(encoding="utf-8"))]
    sizes = [command.split()[3] for command in commands]
    assert sizes == ["1.3b", "6b", "175b"]


@pytest.mark.slow
def test_the_plans_are_up_to_date():
    pages = (PAGE.read_text(encoding="utf-8").splitlines(), written().splitlines())
    changed = "\n".join(unified_diff(*pages, n=0, lineterm=""))
    assert not changed, f"run python -m tests.docs.plans:\n{changed}"
