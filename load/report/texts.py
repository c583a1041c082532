"""How a report's values are written for people, on the page and on the terminal alike.

Invariant: three significant digits, the unit beside the number, a dash where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from load.report.model import Figure, Value

DASH = "–"
# Beyond these a power of ten is easier to read than its zeros.
PLAIN_MAX, PLAIN_MIN = 1e12, 1e-4


def number_text(value: float) -> str:
    """1,234,567 or 12.3 or 0.0123; whole numbers stay whole."""
    if math.isfinite(value) and value == int(value) and abs(value) < PLAIN_MAX:
        return f"{value:,.0f}"
    return digits_text(value)


def digits_text(value: float) -> str:
    """Three digits count, also where they are zeros: 1.00."""
    if not math.isfinite(value):
        return DASH
    size = abs(value)
    if size >= PLAIN_MAX or 0 < size < PLAIN_MIN:
        return f"{value:.2e}"
    if size >= 1000:
        return f"{value:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(size))) if size else 0
    return f"{value:.{decimals}f}"


def value_text(value: Value) -> str:
    """A cell of a table."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number_text(value)


def figure_value_text(figure: Figure) -> str:
    """What the goal is about: 1.24× beside a peer, else 12.3 ms."""
    return DASH if figure.value is None else _with_unit(figure, figure.value)


def interval_text(figure: Figure) -> str:
    """The 90 % interval of the value, in its unit."""
    if figure.low is None or figure.high is None:
        return DASH
    return _with_unit(figure, figure.low, figure.high)


def samples_text(samples: tuple[float, ...], unit: str) -> str:
    """The median of the samples; single runs are in the JSON."""
    known = [sample for sample in samples if math.isfinite(sample)]
    return f"{number_text(median(known))} {unit}".strip() if known else DASH


def numeric_columns(rows: Sequence[Sequence[Value]]) -> set[int]:
    """Which columns hold numbers: they and their titles stand at the right."""
    return {
        index
        for row in rows
        for index, value in enumerate(row)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def time_text(at: datetime) -> str:
    """2026-03-01 12:30:05 UTC"""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _with_unit(figure: Figure, *values: float) -> str:
    if figure.peer:
        return " … ".join(map(digits_text, values)) + "×"
    return f"{' … '.join(map(number_text, values))} {figure.unit}".strip()
