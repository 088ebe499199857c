"""The table of states and ways on says what the code says, and nothing in it is made up."""

from tests.docs.ways_table import PAGE, with_ways

from understudy.cli import COMMANDS
from understudy.labeling.app import routes
from understudy.labeling.ways import WAYS


def test_the_table_in_the_docs_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_ways(text), "run `make docs`"
    assert text.count("| gateway request |") > 10


def test_every_way_is_a_route_or_a_command() -> None:
    known = {f"{route.method} {route.path}" for route in routes()}
    known |= {command.name for command in COMMANDS}
    named = [means for way in WAYS for means in way.means]
    assert named
    assert sorted(set(named) - known) == []
