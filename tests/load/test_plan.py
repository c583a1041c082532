"""A plan: arithmetic that a person can follow, and a source for every number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.failures import FatalError
from load.plan import PlanOptions, run_plan
from load.planning.sizing import plan
from load.planning.unit_costs import BUILT_IN, UnitCost, unit_costs
from load.progress import Progress
from load.report.model import Figure, Report, Verdict
from load.report.write import write_report

# Ten sites, 1,000 studies of 100 instances of 1 MB a day: 100,000 instances and 100 GB a day.
TEN_SITES = PlanOptions(
    sites=10,
    studies_per_day=1_000,
    instances_per_study=100,
    size_kb=1_000,
    peak_hour_share=0.18,
    largest_site_share=0.2,
    growth_per_year=0.0,
    years=1,
    payload_hours=24,
    outage_hours=48,
    hold_hours=24,
    catch_up_hours=24,
    wan_mbit=100,
)
COSTS = {
    "archive_cpu_ms": 2.0,
    "archive_cpu_s_per_gb": 40.0,
    "index_ms": 3.0,
    "event_bytes": 1_000.0,
    "index_bytes": 1_500.0,
    "pack_overhead_bytes": 2_000.0,
    "broker_mb_s": 100.0,
}


def _costs() -> dict[str, UnitCost]:
    return {cost.name: replace(cost, value=COSTS[cost.name]) for cost in BUILT_IN}


def test_a_plan_is_the_arithmetic_it_says() -> None:
    value = {row.name: row.value for row in plan(TEN_SITES, _costs())}
    assert value["instances_a_day"] == pytest.approx(100_000)
    assert value["instances_a_second"] == pytest.approx(5.0)  # 100,000 × 0.18 / 3,600
    assert value["mb_a_second"] == pytest.approx(5.0)
    assert value["bytes_a_day"] == pytest.approx(0.1)
    # 5/s × 2 ms + 0.005 GB/s × 40 s = 0.21 cores, / 0.5
    assert value["object_archive_consumers"] == 1
    assert value["metadata_index_consumers"] == 1
    assert value["partitions"] == 24
    # (5 MB/s × 1.05 × 4) / 50 MB/s = 0.42; disk below one of 8 TB
    assert value["brokers"] == 3
    # (105 GB + 36.5 GB of events) × 3 / 0.75
    assert value["kafka_disk_tb"] == pytest.approx(0.566)
    # 105 GB × 2 / 24 = 8.75 GB = 8.15 GiB
    assert value["payload_retention_gib"] == 9
    # 20 GB a day × 3 days / 0.75
    assert value["spool_tb_largest_site"] == pytest.approx(0.08)
    assert value["archive_tb_a_year"] == pytest.approx(36.573)
    assert value["index_rows_a_year"] == pytest.approx(36.5)
    assert value["index_gb_a_year"] == pytest.approx(73.0)
    # its busiest hour: 5 MB/s × 0.2 × 1.05 = 8.4 Mbit/s; catching up: 21 GB × 3 / 86,400 s
    assert value["wan_mbit_largest_site"] == pytest.approx(8.4)
    assert value["wan_mbit_dr"] == pytest.approx(29.17, abs=0.01)
    assert value["wan_use"] == pytest.approx(8.4)


def test_more_load_asks_for_more() -> None:
    small = {row.name: row.value for row in plan(TEN_SITES, _costs())}
    busy = replace(TEN_SITES, studies_per_day=100_000, growth_per_year=0.1, years=5)
    large = {row.name: row.value for row in plan(busy, _costs())}
    assert all(large[name] >= small[name] for name in small)
    assert large["partitions"] == 2 * max(v for n, v in large.items() if n.endswith("_consumers"))


def test_every_row_names_its_formula_and_its_measurement() -> None:
    report = _run(TEN_SITES)
    assert report.ok
    (table,) = report.sections[0].tables
    assert all(row[3] and row[4] for row in table.rows)
    measured = [row for row in table.rows if "built-in" in str(row[4])]
    assert len(measured) >= 6
    assert {figure.verdict for figure in report.figures} == {Verdict.SHOWN}


def test_without_a_second_site_nothing_is_planned_for_it() -> None:
    names = {row.name for row in plan(replace(TEN_SITES, dr=False), _costs())}
    assert not [name for name in names if "dr" in name.split("_")]


def test_a_line_that_is_too_thin_fails_the_plan() -> None:
    report = _run(replace(TEN_SITES, wan_mbit=5.0))
    assert not report.ok
    assert "168 %" in report.failures[0].what


def test_the_newest_report_replaces_a_built_in_cost(tmp_path: Path) -> None:
    for day, value in ((1, 7.0), (2, 9.0)):
        write_report(_measured(day, value), tmp_path / f"growth-{day}")
    cost = unit_costs(tmp_path)["index_ms"]
    assert cost.value == 9.0
    assert cost.source == "growth-2/report.json: growth.unit.index_wall"
    assert "built-in" in unit_costs(tmp_path)["event_bytes"].source


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sites": 0}, "sites"),
        ({"sites": -3}, "sites"),
        ({"studies_per_day": 0}, "studies_per_day"),
        ({"studies_per_day": float("nan")}, "studies_per_day"),
        ({"instances_per_study": -1}, "instances_per_study"),
        ({"size_kb": 0}, "size_kb"),
        ({"peak_hour_share": 1.5}, "peak_hour_share"),
        ({"largest_site_share": 0.001}, "largest_site_share"),
        ({"load_max": 0}, "load_max"),
        ({"wan_mbit": 0}, "wan_mbit"),
        ({"growth_per_year": -1.0}, "growth_per_year"),
        ({"years": -1}, "years"),
        ({"reports": Path("nowhere")}, "nowhere"),
    ],
)
def test_wrong_input_is_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(FatalError, match=named):
        _run(replace(TEN_SITES, **changes))  # type: ignore[arg-type]


def _run(options: PlanOptions) -> Report:
    with Progress() as progress:
        return run_plan(options, progress)


def _measured(day: int, value: float) -> Report:
    figure = Figure("growth.unit.index_wall", "", "ms", Verdict.SHOWN, value=value)
    # A later run that could not measure it must not hide the one that did.
    failed = Figure("growth.unit.event_bytes", "", "B", Verdict.NOT_MEASURED)
    return Report(
        command="growth",
        seed=1,
        started_at=datetime(2026, 1, day, tzinfo=UTC),
        seconds=1.0,
        ok=True,
        machine={},
        versions={},
        figures=(figure, failed),
    )
