"""What one case makes the product execute: how many lines, and which steps from line to line.

Invariant: only the target's own files count, so the number is the same on any machine. It must not
be used over a whole campaign: it is thirty times slower than running.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import Target, require

Arc = tuple[str, int, int]
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Trace:
    """Lines executed, and how often each (file, line before, line), 0 for a function's start."""

    steps: int = 0
    arcs: Counter[Arc] = field(default_factory=Counter)

    def features(self) -> set[tuple[Arc, int]]:
        """What tells this case from others: the steps, and how often by powers of two."""
        return {(arc, count.bit_length()) for arc, count in self.arcs.items()}


@contextmanager
def tracing(target: Target) -> Iterator[Trace]:
    """Counts while the block runs; of this thread alone."""
    found = Trace()
    prefixes = tuple(str(ROOT / source) for source in target.sources)
    before: dict[int, int] = {}

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            found.steps += 1
            line = frame.f_lineno
            found.arcs[frame.f_code.co_filename, before.get(id(frame), 0), line] += 1
            before[id(frame)] = line
        elif event == "return":
            before.pop(id(frame), None)
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        before.pop(id(frame), None)
        return on_line if frame.f_code.co_filename.startswith(prefixes) else None

    sys.settrace(on_call)
    try:
        yield found
    finally:
        sys.settrace(None)


def traced(target: Target, case: bytes) -> Trace:
    """The trace of a case's check, which must hold."""
    with tracing(target) as found:
        target.check(case)
    return found


def check_cost(target: Target, case: bytes) -> int:
    """The case's steps, counted; Raises Violation where steps or memory exceed the target's."""
    steps = traced(target, case).steps
    require(steps <= target.steps_max, f"at most {target.steps_max} steps, not {steps}")
    tracemalloc.start()
    try:
        target.check(case)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    require(
        peak_bytes <= target.memory_bytes_max,
        f"at most {target.memory_bytes_max} bytes of memory, not {peak_bytes}",
    )
    return steps
