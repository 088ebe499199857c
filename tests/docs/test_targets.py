"""Every test belongs to a target of the Makefile, whatever its markers."""

import re
import tomllib
from itertools import chain, combinations

from tests.docs.pages import ROOT

OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
MARKERS = [text.partition(":")[0] for text in OPTIONS["markers"]]
USUAL = next(option for option in OPTIONS["addopts"] if option.startswith("-m ")).removeprefix(
    "-m "
)


def test_some_target_runs_tests_of_any_markers() -> None:
    lines = re.findall(
        r"^\t\$\(BIN\)/python -m pytest (.*)$", (ROOT / "Makefile").read_text(), re.M
    )
    chosen = [re.search(r"-m (?:'([^']*)'|(\w+))", line) for line in lines]
    expressions = [USUAL if found is None else found[1] or found[2] for found in chosen]
    assert len(expressions) > 3
    sizes = range(len(MARKERS) + 1)
    for some in chain.from_iterable(combinations(MARKERS, size) for size in sizes):
        marked = {name: name in some for name in MARKERS}
        assert any(eval(text, {}, marked) for text in expressions), f"no target runs {some}"
