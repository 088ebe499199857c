"""Progress of a plan: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from understudy.loop.link import Saying
from understudy.loop.runner import StageState

_SECONDS_BETWEEN_LINES = 20.0
_BAR_WIDTH, _TIME_WIDTH = 14, 26
_MARK = {"fresh": "=", "done": "+", "running": ">", "failed": "!", "waiting": " "}
_COLOUR = {"fresh": "dim", "done": "green", "running": "bold", "failed": "bold red"}


@contextmanager
def open_display(title: str) -> Iterator[Saying]:
    """A live table when stderr is a terminal, else plain lines; both on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(title)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Board(title, live)


class Lines:
    """One line when a stage starts or ends, and now and then the running stages' progress."""

    def __init__(self, title: str) -> None:
        self.last = self.start = time.monotonic()
        self.say(title)

    def changed(self, state: StageState) -> None:
        """Called when a stage starts, ends or is found fresh."""
        name, meaning = state.stage.name, state.stage.meaning
        if state.state == "running":
            self.say(f"{name}: {meaning}" + ("" if _is_new(state) else f" ({state.reason})"))
        elif state.state == "fresh":
            self.say(f"{name}: finished before")
        elif state.state == "failed":
            self.say(f"{name}: failed: {state.reason}")
        else:
            self.say(f"{name}: {state.state} in {clock(state.seconds)}")

    def update(self, states: Sequence[StageState], seconds_left: float) -> None:
        """Called a few times a second."""
        now = time.monotonic()
        running = [s for s in states if s.state == "running"]
        if now - self.last < _SECONDS_BETWEEN_LINES or not running:
            return
        parts = [f"{s.stage.name} {s.fraction:.0%}{_note(s)}" for s in running]
        done = sum(s.state in ("done", "fresh") for s in states)
        self.say(f"{done}/{len(states)} done; {', '.join(parts)}; {clock(seconds_left)} left")

    def say(self, line: str) -> None:
        """Show a line."""
        self.last = time.monotonic()
        print(f"[{clock(self.last - self.start)}] {line}", file=sys.stderr, flush=True)


class Board:
    """The live table: a row per step, shards of one step together."""

    def __init__(self, title: str, live: Live) -> None:
        self.title, self.live, self.start = title, live, time.monotonic()

    def changed(self, state: StageState) -> None:
        """Nothing to do: the next `update` shows the change."""

    def update(self, states: Sequence[StageState], seconds_left: float) -> None:
        """Called a few times a second."""
        left = f", about {clock(seconds_left)} left" if seconds_left else ""
        title = f"{self.title}   {clock(time.monotonic() - self.start)}{left}"
        self.live.update(board(states, title, self.live.console.height), refresh=True)

    def say(self, line: str) -> None:
        """Show a line above the table, unwrapped, so that links in it work."""
        self.live.console.print(line, soft_wrap=True, markup=False, highlight=False)


def board(states: Sequence[StageState], title: str, height: int) -> Group:
    """The current title and table, in at most `height` lines."""
    rows = _rows(states)
    shown, hidden = fitting(
        {name: _state_of(members) for name, members in rows.items()}, height - 3
    )
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=max(map(len, rows)), no_wrap=True)
    table.add_column(width=_BAR_WIDTH)
    table.add_column(width=_TIME_WIDTH, no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name in shown:
        table.add_row(*_cells(name, rows[name]))
    return Group(Text(title, style="bold", no_wrap=True), Text(hidden, style="dim"), table)


def fitting(state_of: Mapping[str, str], height: int) -> tuple[list[str], str]:
    """The rows that fit and a note on the rest: finished ones are dropped first, then later."""
    names = list(state_of)
    finished = [name for name in names if state_of[name] in ("done", "fresh")]
    too_many = max(0, len(names) - height)
    dropped = finished[:too_many]
    shown = [name for name in names if name not in dropped][: max(height, 1)]
    later = len(names) - len(dropped) - len(shown)
    notes = [f"{len(dropped)} more finished"] * bool(dropped) + [f"{later} more to come"] * bool(
        later
    )
    return shown, ", ".join(notes)


def _cells(name: str, members: Sequence[StageState]) -> tuple[RenderableType, ...]:
    state = _state_of(members)
    fraction = sum(s.fraction for s in members) / len(members)
    bar = ProgressBar(total=1.0, completed=fraction, width=_BAR_WIDTH) if state == "running" else ""
    text = next((s.reason for s in members if s.state == "failed"), members[0].stage.meaning)
    style = _COLOUR.get(state, "")
    return _MARK[state], Text(name, style=style), bar, _time_of(members), Text(text, style="dim")


def _rows(states: Sequence[StageState]) -> dict[str, list[StageState]]:
    rows: dict[str, list[StageState]] = {}
    for state in states:
        rows.setdefault(state.stage.row, []).append(state)
    return rows


def _state_of(members: Sequence[StageState]) -> str:
    """The state of a row from those of its shards."""
    states = {s.state for s in members}
    if "failed" in states:
        return "failed"
    if "running" in states or ("waiting" in states and states & {"done", "fresh"}):
        return "running"
    return "waiting" if "waiting" in states else "done" if "done" in states else "fresh"


def _time_of(members: Sequence[StageState]) -> str:
    running = [s for s in members if s.state == "running"]
    if running:
        return clock(time.monotonic() - min(s.started for s in running)) + _note(running[0])
    return clock(sum(s.seconds for s in members)) if all(s.seconds for s in members) else ""


def _note(state: StageState) -> str:
    return f" {state.note}" if state.note else ""


def _is_new(state: StageState) -> bool:
    return state.reason == "not done yet"


def clock(seconds: float) -> str:
    """Minutes and seconds, as in "2:05"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
