"""A report as one page of HTML that loads nothing: the plots' library lies in it.

Invariant: every text is escaped; the page's own policy forbids it to fetch anything. It must not
compute figures.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from load.progress import duration_text
from load.report import plots, texts
from load.report.model import Plot, Report, Verdict

TEMPLATE = "page.html.j2"
# The page shows a plot's numbers too; whoever needs more rows than this reads the JSON.
PLOT_ROWS_MAX = 400
EXAMPLES_MAX = 20
# More plots than this in one section stand side by side.
FEW_PLOTS = 4


def page(report: Report) -> str:
    """The whole page."""
    drawings: list[dict[str, Any]] = []

    def draw(drawing: dict[str, Any]) -> str:
        """Keeps what the script will draw, and names the place it draws into."""
        drawings.append(drawing)
        return f"plot-{len(drawings) - 1}"

    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            counts=_counts(report),
            has=_columns(report),
            ratios=plots.ratios_drawn(report.figures),
            draw=draw,
            draw_plot=lambda plot: draw(plots.drawn(plot)),
            drawings=drawings,
            plotly_js=get_plotlyjs(),
            few_plots=FEW_PLOTS,
            examples_max=EXAMPLES_MAX,
            plot_rows_max=PLOT_ROWS_MAX,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": texts.value_text,
        "duration": duration_text,
        "figure_value": texts.figure_value_text,
        "interval": texts.interval_text,
        "samples": lambda figure, name: texts.samples_text(getattr(figure, name), figure.unit),
        "moment": texts.time_text,
        "paragraphs": lambda text: [part for part in text.split("\n\n") if part.strip()],
        "rows": _plot_rows,
        "numeric_columns": texts.numeric_columns,
        "is_number": lambda value: isinstance(value, int | float),
        "slug": lambda text: "".join(c if c.isalnum() else "-" for c in text.lower()),
    }
    return environment


def _columns(report: Report) -> dict[str, bool]:
    """Columns of the figures table that some figure needs."""
    figures = report.figures
    return {
        "interval": any(figure.low is not None for figure in figures),
        "goal": any(figure.goal for figure in figures),
        "peer": any(figure.peer for figure in figures),
        "samples": any(len(figure.ours) > 1 for figure in figures),
    }


def _counts(report: Report) -> list[tuple[Verdict, int]]:
    found = Counter(figure.verdict for figure in report.figures)
    return [(verdict, found[verdict]) for verdict in Verdict if found[verdict]]


def _plot_rows(plot: Plot) -> list[tuple[Any, ...]]:
    """Series, x, y and the ends of the interval, as the details below a plot show them."""
    rows: list[tuple[Any, ...]] = []
    for series in plot.series:
        has_bars = bool(series.low and series.high)
        for index, (x, y) in enumerate(zip(series.x, series.y, strict=False)):
            ends = (series.low[index], series.high[index]) if has_bars else (None, None)
            rows.append((series.name, x, y, *ends))
    return rows
