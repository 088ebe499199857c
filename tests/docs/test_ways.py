"""Nothing in the table of states and ways on (docs/labeling.md) is made up."""

from understudy.labeling.app import routes
from understudy.labeling.ways import WAYS
from understudy.loop.commands import COMMANDS


def test_every_way_is_a_route_or_a_command() -> None:
    known = {f"{route.method} {route.path}" for route in routes()}
    known |= {command.name for command in COMMANDS}
    named = [means for way in WAYS for means in way.means]
    assert named
    assert sorted(set(named) - known) == []
