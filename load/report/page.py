"""A report as one page of HTML that loads nothing: the plots' library lies in it.

Invariant: every text is escaped; the page's own policy forbids it to fetch anything. It must not
compute figures.
"""

from __future__ import annotations

from load.report.model import Report


def page(report: Report) -> str:
    """The whole page."""
    return f"<!doctype html><title>{report.command}</title>"
