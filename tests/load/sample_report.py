"""A report with every kind of content, for tests of what is made from reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from load.report.model import (
    Failure,
    Figure,
    Plot,
    Report,
    Section,
    Series,
    Table,
    Value,
    Verdict,
)

STARTED_AT = datetime(2026, 3, 1, 12, 30, 5, 250_000, tzinfo=UTC)
MACHINE: Mapping[str, Value] = {
    "cpu": "Example CPU",
    "cores": 2,
    "memory_bytes": 24 * 2**30,
    "file_system": "ext4 of 100 GiB",
}


def ratio(name: str, value: float, spread: float = 0.05, verdict: Verdict = Verdict.MET) -> Figure:
    """A figure beside a peer whose interval reaches `spread` of the value to both sides."""
    return Figure(
        name=name,
        title=f"durable ingest, {name}",
        unit="instances/s",
        verdict=verdict,
        value=value,
        low=value * (1 - spread),
        high=value * (1 + spread),
        goal="≥ 1.0×",
        peer="DCMTK storescp",
        ours=(700.0 * value, 710.0 * value),
        theirs=(700.0, 710.0),
    )


def sample_report(
    *figures: Figure,
    started_at: datetime = STARTED_AT,
    machine: Mapping[str, Value] = MACHINE,
    mode: str = "quick",
    version: str = "abc",
) -> Report:
    """A `compare` report; without figures given, some of each kind."""
    return Report(
        command="compare",
        seed=7,
        started_at=started_at,
        seconds=12.5,
        ok=False,
        machine=machine,
        versions={"hilum": version, "python": "3.11"},
        parameters={"mode": mode, "pairs": 5, "sample_s": 0.8, "note": None},
        figures=figures or (*_figures(),),
        sections=_sections(),
        failures=(Failure("Orthanc <1>", "answered A700", 2, ("2.25.1", "2.25.2")),),
    )


def _figures() -> tuple[Figure, ...]:
    return (
        ratio("lean-ct-4", 1.5),
        Figure(
            "index-p99",
            "time to index, p99",
            "s",
            Verdict.UNDECIDED,
            5.9,
            5.1,
            6.2,
            "< 6 s",
            ours=(5.5, float("nan"), 6.1),
            higher_is_better=False,
        ),
        Figure("orthanc", "against Orthanc", "", Verdict.NOT_MEASURED, note="not <i>installed</i>"),
    )


def _sections() -> tuple[Section, ...]:
    hours = tuple(float(hour) for hour in range(3))
    return (
        Section(
            "Ingest & more",
            "First paragraph.\n\nSecond, with </script><script>alert(1)</script>.",
            tables=(Table("Rates", ("receiver", "rate"), (("ours", 612.25), ("peer", None))),),
            plots=(
                Plot(
                    "Rate by receiver",
                    "bar",
                    "receiver",
                    "instances/s",
                    (
                        Series(
                            "a</script><b>",
                            ("ours", "<i>peer"),
                            (2.0, None),
                            (1.5, 0.0),
                            (3.0, 0.0),
                        ),
                    ),
                ),
            ),
        ),
        Section(
            "Growth",
            plots=(
                Plot("Backlog", "line", "h", "instances", (Series("lag", hours, hours),)),
                Plot("Cost", "points", "rows", "µs", (Series("c", hours, hours),), True, True),
            ),
        ),
    )
