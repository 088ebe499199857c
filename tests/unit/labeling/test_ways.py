"""Every state that the database knows has a way on."""

import pytest

from understudy.labeling.ways import WAYS
from understudy.store import labeling_tables as tables


@pytest.mark.parametrize(
    ("of", "states"),
    [
        (("candidate", "labeler"), tables.STAGES),
        (("item",), tables.ITEM_STATES),
        (("task",), tables.TASK_STATES),
        (("export",), tables.JOB_STATES),
    ],
)
def test_no_state_is_a_dead_end(of: tuple[str, ...], states: tuple[str, ...]) -> None:
    listed = {way.state for way in WAYS if way.of in of}
    assert set(states) <= listed
    assert all(way.on and way.seen for way in WAYS)
