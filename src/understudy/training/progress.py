"""Progress of a run: a live line on a terminal; elsewhere, a plain line from time to time."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0
"""Least seconds between two plain lines."""


class Progress:
    """Steps of `total`, the latest metrics and the time left, on standard error."""

    def __init__(self, total: int, title: str, stream: TextIO | None = None):
        self.total, self.title = total, title
        self.stream = stream or sys.stderr
        self.started = self.printed = time.monotonic()
        self.first: int | None = None
        self.step = 0
        self._rich: RichProgress | None = None
        if self.stream.isatty():
            self._rich = RichProgress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
            )
            self._task = self._rich.add_task(title, total=total, metrics="")
            self._rich.start()

    def update(self, step: int, metrics: Mapping[str, float | int | None]) -> None:
        """Show that `step` is done."""
        self.step = step
        if self.first is None:
            self.first = step - 1  # a resumed run does not start at 0
        shown = "  ".join(
            f"{name.rsplit('/')[-1]} {value:.4g}"
            for name, value in list(metrics.items())[:5]
            if value is not None
        )
        if self._rich is not None:
            self._rich.update(self._task, completed=step, metrics=shown)
            return
        now = time.monotonic()
        if step >= self.total or step == self.first + 1 or now - self.printed >= PLAIN_SECONDS:
            self.printed = now
            line = f"{self.title} {step}/{self.total}  {shown}  {self.left()} left"
            print(line, file=self.stream, flush=True)

    def advance(self, number: int) -> None:
        """Show that `number` more are done; for work that is never resumed."""
        self.first = 0
        self.update(self.step + number, {})

    def left(self) -> str:
        """Time to the end at the rate so far, as m:ss."""
        done = self.step - (self.first or 0)
        spent = time.monotonic() - self.started
        seconds = round(spent / max(done, 1) * max(self.total - self.step, 0))
        return f"{seconds // 60}:{seconds % 60:02d}"

    def close(self) -> None:
        """Restore the terminal; further calls do nothing."""
        if self._rich is not None:
            self._rich.stop()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
