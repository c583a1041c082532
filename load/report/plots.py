"""Plots of a report as plotly figures, for the page to draw.

Invariant: no text of a report reaches plotly unescaped, which reads a little HTML; colours of text
and grid are the page's own, so that light and dark both hold.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from load.report.model import Figure, Plot, Series, Verdict

# Told apart by people with any colour vision (after Okabe and Ito), and on black as on white.
COLOURS = ("#2f7ed8", "#e08e0b", "#0a9e73", "#c0609a", "#56a4c9", "#d55e00", "#8d77c9", "#7f8790")
VERDICT_COLOURS = {
    Verdict.MET: "#1c9e5a",
    Verdict.MISSED: "#d8403a",
    Verdict.UNDECIDED: "#d08a00",
    Verdict.SHOWN: "#7f8790",
    Verdict.NOT_MEASURED: "#7f8790",
}
# Beyond these a marker on every point hides the curve.
MARKERS_MAX = 60
HEIGHT_PX = 380
RATIO_ROW_PX = 34


def drawn(plot: Plot) -> dict[str, Any]:
    """Data and layout of one plot, as plotly.js takes them."""
    figure = go.Figure(data=[_trace(plot, series) for series in plot.series])
    has_names = any(isinstance(x, str) for series in plot.series for x in series.x)
    figure.update_layout(**_layout(HEIGHT_PX), showlegend=len(plot.series) > 1, barmode="group")
    figure.update_xaxes(title_text=_safe(plot.x_title), type=_axis(plot.log_x, has_names))
    figure.update_yaxes(title_text=_safe(plot.y_title), type=_axis(plot.log_y, False))
    if not plot.log_y:
        figure.update_yaxes(rangemode="tozero")
    return _plain(figure)


def ratios_drawn(figures: Sequence[Figure]) -> dict[str, Any] | None:
    """All ratios ours : peer with their intervals on one axis; None where there is none."""
    ratios = [one for one in figures if one.peer and one.value is not None and one.value > 0]
    if not ratios:
        return None
    figure = go.Figure()
    for verdict in Verdict:
        chosen = [one for one in ratios if one.verdict is verdict]
        if chosen:
            figure.add_trace(_ratio_trace(verdict, chosen))
    figure.update_layout(**_layout(110 + RATIO_ROW_PX * len(ratios)), showlegend=True)
    figure.update_xaxes(title_text="ratio ours : peer", type="log")
    order = [_safe(_ratio_title(one)) for one in reversed(ratios)]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order)
    figure.add_vline(x=1, line_width=1, line_dash="dot", line_color="#7f8790")
    return _plain(figure)


def _ratio_trace(verdict: Verdict, figures: Sequence[Figure]) -> go.Scatter:
    values = [one.value or 0.0 for one in figures]
    return go.Scatter(
        name=verdict.value,
        mode="markers",
        x=values,
        y=[_safe(_ratio_title(one)) for one in figures],
        text=[_safe(f"goal {one.goal}" if one.goal else "") for one in figures],
        marker={"size": 10, "color": VERDICT_COLOURS[verdict]},
        error_x=_bars(values, [one.low for one in figures], [one.high for one in figures]),
    )


def _ratio_title(figure: Figure) -> str:
    return f"{figure.title} : {figure.peer}"


def _trace(plot: Plot, series: Series) -> go.Scatter | go.Bar:
    shared: dict[str, Any] = {
        "name": _safe(series.name),
        "x": [_safe(x) if isinstance(x, str) else x for x in series.x],
        "y": [_finite(y) for y in series.y],
    }
    if series.low and series.high:
        shared["error_y"] = _bars(series.y, series.low, series.high)
    if plot.kind == "bar":
        return go.Bar(**shared)
    if plot.kind == "points":
        return go.Scatter(mode="markers", **shared)
    mode = "lines+markers" if len(series.x) <= MARKERS_MAX else "lines"
    return go.Scatter(mode=mode, **shared)


def _bars(
    values: Sequence[float | None], low: Sequence[float | None], high: Sequence[float | None]
) -> dict[str, Any]:
    """Plotly wants distances; a report holds the ends of the interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_distance(y, up) for y, up in zip(values, high, strict=False)],
        "arrayminus": [_distance(down, y) for y, down in zip(values, low, strict=False)],
        "thickness": 1.2,
        # Seen on a bar of any colour, on light and on dark.
        "color": "#7f8790",
    }


def _distance(start: float | None, end: float | None) -> float:
    first, last = _finite(start), _finite(end)
    return 0.0 if first is None or last is None else max(last - first, 0.0)


def _axis(is_log: bool, has_names: bool) -> str:
    # Without a type plotly guesses dates from names.
    return "category" if has_names else "log" if is_log else "linear"


def _layout(height_px: int) -> dict[str, Any]:
    return {
        "template": "none",
        "colorway": COLOURS,
        "height": height_px,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"automargin": True},
        "yaxis": {"automargin": True},
    }


def _plain(figure: go.Figure) -> dict[str, Any]:
    written: dict[str, Any] = figure.to_plotly_json()
    return written


def _safe(text: str) -> str:
    return html.escape(text, quote=False)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
