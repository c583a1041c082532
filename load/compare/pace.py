"""How far the whole comparison is, in seconds of its plan.

Invariant: the bar never passes what is planned and ends exactly there, also where a measurement
takes longer or shorter than it was thought to. It must not influence a measurement.
"""

from __future__ import annotations

import io

from rich.console import Console

from load.progress import Progress


class Pace:
    """Advances one stage of `progress` by planned seconds."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._left = 0.0

    def begin(self, planned_s: float) -> None:
        """A measurement begins that shall take `planned_s`."""
        self._left = planned_s

    def advance(self, planned_s: float) -> None:
        """A part of it is done that was planned with `planned_s`."""
        step = min(planned_s, self._left)
        self._left -= step
        self._progress.advance(step)

    def note(self, text: str) -> None:
        """A line for whoever watches."""
        self._progress.note(text)

    def end(self) -> None:
        """The measurement is over."""
        self.advance(self._left)


def quiet() -> Progress:
    """A progress for parts that tell stages of their own: one bar a run, with one estimate."""
    return Progress(Console(file=io.StringIO()))
