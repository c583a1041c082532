"""What a run is doing, on stderr: the stage, its rate and when it will be done.

Invariant: nothing goes to stdout. On a terminal it is a bar, elsewhere a plain line every
`LINE_EVERY_S`. It must not measure anything that a report shows.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.5
END_WITHIN_S = 2.0


class Progress:
    """A context manager; `stage` ends the stage before it. Usable from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            # Drawing takes time from what is measured.
            refresh_per_second=1 / BAR_EVERY_S,
        )
        self._lock = threading.Lock()
        self._stage: _Stage | None = None
        self._is_ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._bars.start()
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        cause: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_ended.set()
        self._ticker.join(END_WITHIN_S)
        self._end_stage()
        self._bars.stop()

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """Begins a stage of `total` units; None where nobody knows how many."""
        self._end_stage()
        task = self._bars.add_task(title, total=total, text="")
        with self._lock:
            self._stage = _Stage(title, total, unit, task)
        if not self._console.is_terminal:
            self._print(title)

    def advance(self, count: float = 1) -> None:
        """`count` more units of the stage are done."""
        with self._lock:
            if self._stage is not None:
                self._stage.done += count

    def note(self, text: str) -> None:
        """A line that stays on the screen above the bar."""
        self._print(f"  {text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _tick(self) -> None:
        every_s = BAR_EVERY_S if self._console.is_terminal else LINE_EVERY_S
        while not self._is_ended.wait(every_s):
            self._show()

    def _show(self) -> None:
        with self._lock:
            stage = self._stage
        if stage is None:
            return
        if self._console.is_terminal:
            self._bars.update(stage.task, completed=stage.done, text=stage.text())
        else:
            self._print(f"{stage.title}: {stage.text()}")

    def _end_stage(self) -> None:
        with self._lock:
            stage, self._stage = self._stage, None
        if stage is None:
            return
        self._bars.remove_task(stage.task)
        self._bars.refresh()
        self._print(f"{stage.title}: {stage.summary()}")


class _Stage:
    def __init__(self, title: str, total: float | None, unit: str, task: TaskID) -> None:
        self.title, self.total, self.unit, self.task = title, total, unit, task
        self.done = 0.0
        self._began = time.monotonic()

    def text(self) -> str:
        """12 of 40 CT, 3.1/s, 9 s left"""
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = self.done / seconds
        parts = [self._count()] if self.done or self.total else []
        if self.done:
            parts.append(f"{_number(rate)}/s")
        if self.total and rate:
            parts.append(f"{duration_text(max(self.total - self.done, 0) / rate)} left")
        else:
            parts.append(duration_text(seconds))
        return ", ".join(parts)

    def summary(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-6)
        if not self.done:
            return duration_text(seconds)
        rate = f"{_number(self.done / seconds)}/s"
        return f"{self._count()} in {duration_text(seconds)}, {rate}"

    def _count(self) -> str:
        of = f" of {_number(self.total)}" if self.total else ""
        return f"{_number(self.done)}{of} {self.unit}".strip()


def duration_text(seconds: float) -> str:
    """8 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
