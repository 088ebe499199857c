"""The table of states and ways on in docs/labeling.md, made from the code.

python -m tests.docs.ways_table writes it.
"""

import re

from tests.docs.pages import DOCS

from understudy.labeling.ways import WAYS
from understudy.serving.ways import WAYS as GATEWAY_WAYS
from understudy.web.ways import ways_table

PAGE = DOCS / "labeling.md"
MARKED = re.compile(r"(<!-- ways -->\n).*?(<!-- /ways -->)", re.DOTALL)


def with_ways(text: str) -> str:
    """The page with the table as the code has it."""
    table = ways_table((*WAYS, *GATEWAY_WAYS))
    return MARKED.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_ways(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
