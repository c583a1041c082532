"""How a report's values are written for people, on the page and on the terminal alike.

Invariant: three significant digits, the unit beside the number, a dash where nothing is known.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from statistics import median

from load.report.model import Figure, Value

DASH = "–"
# Beyond these a power of ten is easier to read than its zeros.
PLAIN_MAX, PLAIN_MIN = 1e12, 1e-4


def number_text(value: float) -> str:
    """1,234,567 or 12.3 or 0.0123: three digits count, whole numbers stay whole."""
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = abs(value)
    if size >= PLAIN_MAX or size < PLAIN_MIN:
        return f"{value:.2e}"
    if isinstance(value, int) or size >= 1000:
        return f"{value:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(size)))
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
    return DASH if figure.value is None else _with_unit(figure, number_text(figure.value))


def interval_text(figure: Figure) -> str:
    """The 90 % interval of the value, in its unit."""
    if figure.low is None or figure.high is None:
        return DASH
    return _with_unit(figure, f"{number_text(figure.low)} … {number_text(figure.high)}")


def samples_text(samples: tuple[float, ...], unit: str) -> str:
    """The median of the samples; single runs are in the JSON."""
    known = [sample for sample in samples if math.isfinite(sample)]
    return f"{number_text(median(known))} {unit}".strip() if known else DASH


def time_text(at: datetime) -> str:
    """2026-03-01 12:30:05 UTC"""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _with_unit(figure: Figure, text: str) -> str:
    return f"{text}×" if figure.peer else f"{text} {figure.unit}".strip()
