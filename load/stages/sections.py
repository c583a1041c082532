"""A run as tables and plots: stages, latencies, what waited, what it cost.

Invariant: shows what was measured and a dash for what was not; every table and plot names its
units. It must not decide whether a run is good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from load.report.model import Plot, Section, Series, Table, Value
from load.senders import Headroom, SendRun, merged, quantiles_us
from load.stages.lag import Waiting
from load.stages.resources import ProcessUse
from load.stages.timeline import BEFORE, Stage
from load.stages.whole_way import StageRun

_QUANTILES = ("p50", "p90", "p99", "p99.9")
# Percentiles of the latency curves: finer where it matters.
_CURVE = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9)
_LATENCY_NOTE = (
    "Sent to acknowledged is the C-STORE itself; the others count from the acknowledgement and "
    "from the stage before. Broker times are whole milliseconds; an instance that was published "
    "before its sender read the response counts as the lowest value."
)


def sender_section(sends: Sequence[tuple[str, SendRun]], room: Headroom) -> Section:
    """What each lane (by its title) sent, what was answered, and what the sender itself took."""
    latencies = [
        ("C-STORE", merged(send.latency for _, send in sends)),
        ("C-STORE, from when it was due", merged(send.latency_from_due for _, send in sends)),
    ]
    rows = tuple((name, *_milliseconds(quantiles_us(found))) for name, found in latencies)
    return Section(
        "What was sent",
        "The lean sender; statuses and problems are counted, none is averaged away.",
        tables=(
            Table("Senders", _SENDER_COLUMNS, tuple(_sender_row(*pair) for pair in sends)),
            room.table(),
            Table(
                "Latency of a C-STORE, ms",
                ("measured", *_QUANTILES),
                rows,
                "The second row tells what a device waits when the sender runs behind its rate.",
            ),
        ),
    )


_SENDER_COLUMNS = (
    "sender", "target", "instances", "acknowledged", "MB", "instances/s", "MB/s", "statuses",
    "problems", "associations", "window", "share of its cores",
)  # fmt: skip


def stage_section(run: StageRun) -> Section:
    """How far and how fast instances came, stage by stage."""
    line = run.timeline
    reached: list[tuple[Value, ...]] = []
    latency: list[tuple[Value, ...]] = []
    for stage in Stage:
        reached.append(
            (
                stage.value,
                len(line.reached(stage)),
                round(line.seconds(stage), 2),
                round(line.rate(stage), 1),
                round(line.megabytes_per_s(stage), 1),
            )
        )
    for since, stage in _spans():
        found = quantiles_us(line.latency(stage, since))
        latency.append((f"{since.value} → {stage.value}", *_milliseconds(found)))
    return Section(
        "Stages",
        "From events: the sender's clock for sent and acknowledged, the broker's for the rest. "
        "Indexed: both halves are inserted and committed. The second site does not wait for "
        "the index.",
        tables=(
            Table(
                "How far and how fast",
                ("stage", "instances", "s after the first byte", "instances/s", "MB/s"),
                tuple(reached),
            ),
            Table("Time between stages, ms", ("span", *_QUANTILES), tuple(latency), _LATENCY_NOTE),
        ),
        plots=(_latency_plot(run),),
    )


def waiting_section(run: StageRun) -> Section:
    """Backlog and lag over time."""
    return Section(
        "What waited",
        tables=(_most_table("Most that waited", (*run.backlogs, *run.lags)),),
        plots=(
            _waiting_plot("Backlog: acknowledged and not yet there", "instances", run.backlogs),
            _waiting_plot("Lag of consumer groups", "records", run.lags),
        ),
    )


def cost_section(run: StageRun) -> Section:
    """CPU, memory and disk by process, per GB and per 1,000 instances of what was acknowledged."""
    uses = sorted(run.resources.processes, key=lambda one: -(one.cpu_s or 0.0))
    size, count = run.bytes_acknowledged, run.acknowledged
    rows = [_cost_row(one, size, count) for one in uses]
    total = ProcessUse("all", run.resources.cpu_s, None, None, None)
    return Section(
        "What it cost",
        "The kernel's own counts between the first byte and the last stage. Memory is the peak "
        "of the run, children included. What a process wrote are the pages it made dirty: large "
        "folios of the page cache count whole, so a process that overwrites its files (the "
        "spool) seems to write more than the disk has got; the disk's own count is below.",
        tables=(
            Table("By process", _COST_COLUMNS, (*rows, _cost_row(total, size, count))),
            Table("Disk", ("figure", "value"), tuple(row[1:] for row in disk_figures(run))),
        ),
        plots=(
            Plot(
                "CPU seconds per GB received",
                "bar",
                "process",
                "CPU s per GB",
                (Series("CPU", *_bars(uses, size)),),
            ),
        ),
    )


_COST_COLUMNS = (
    "process", "CPU s", "CPU s per GB", "CPU s per 1,000 instances", "peak memory, MiB",
    "read, MB", "made dirty, MB", "made dirty per byte received",
)  # fmt: skip


def disk_figures(run: StageRun) -> list[tuple[str, str, float | None]]:
    """Write amplification and flushes of a run: name, title, value; None where the kernel does
    not tell."""
    resources, count = run.resources, run.acknowledged
    return [
        (
            "write-amplification",
            "bytes written to the disk per byte received, the whole machine",
            _per(resources.disk_written_bytes, run.bytes_acknowledged),
        ),
        (
            "spool-flushes",
            "flushes of the spools per instance",
            _per(resources.spool_flushes, count),
        ),
        (
            "disk-flushes",
            "flushes of the disk per instance, the whole machine",
            _per(resources.disk_flushes, count),
        ),
    ]


def _spans() -> Iterable[tuple[Stage, Stage]]:
    for stage in Stage:
        since = BEFORE.get(stage)
        if since is not None:
            yield since, stage
            if since not in (Stage.SENT, Stage.ACKNOWLEDGED):
                yield Stage.ACKNOWLEDGED, stage


def _sender_row(title: str, send: SendRun) -> tuple[Value, ...]:
    problems = dict(send.problems) | dict(send.association_problems)
    return (
        title,
        send.target,
        len(send.outcomes),
        send.acknowledged,
        round(send.bytes_acknowledged / 1e6, 1),
        round(send.rate, 1),
        round(send.megabytes_per_s, 1),
        " ".join(f"{status:04X}×{count}" for status, count in sorted(send.statuses.items())),
        ", ".join(f"{what} ×{count}" for what, count in sorted(problems.items())) or None,
        send.associations,
        send.window,
        round(send.sender_share, 2),
    )


def _milliseconds(found: dict[str, float]) -> tuple[Value, ...]:
    return tuple(round(found[name] / 1000, 2) if name in found else None for name in _QUANTILES)


def _latency_plot(run: StageRun) -> Plot:
    series = []
    for stage in tuple(Stage)[1:]:
        since = Stage.SENT if stage is Stage.ACKNOWLEDGED else Stage.ACKNOWLEDGED
        histogram = run.timeline.latency(stage, since)
        if histogram.get_total_count():
            values = tuple(histogram.get_value_at_percentile(p) / 1e6 for p in _CURVE)
            x = tuple(f"{p:g} %" for p in _CURVE)
            series.append(Series(f"{since.value} → {stage.value}", x, values))
    return Plot(
        "Time to each stage, by share of instances",
        "line",
        "share of instances at or below",
        "seconds",
        tuple(series),
        log_y=True,
    )


def _waiting_plot(title: str, unit: str, found: Sequence[Waiting]) -> Plot:
    series = tuple(Series(one.name, one.at_s, tuple(map(float, one.count))) for one in found)
    return Plot(title, "line", "seconds since the first byte", unit, series)


def _most_table(title: str, found: Sequence[Waiting]) -> Table:
    return Table(title, ("what", "most at once"), tuple((one.name, one.most) for one in found))


def _cost_row(use: ProcessUse, size_bytes: int, count: int) -> tuple[Value, ...]:
    return (
        use.process,
        _rounded(use.cpu_s),
        _rounded(_scaled(use.cpu_s, 1e9, size_bytes)),
        _rounded(_scaled(use.cpu_s, 1e3, count)),
        _rounded(_scaled(use.memory_peak_bytes, 1, 1024 * 1024)),
        _rounded(_scaled(use.read_bytes, 1, 10**6)),
        _rounded(_scaled(use.written_bytes, 1, 10**6)),
        _per(use.written_bytes, size_bytes),
    )


def _bars(
    uses: Sequence[ProcessUse], size_bytes: int
) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    return (
        tuple(one.process for one in uses),
        tuple(_rounded(_scaled(one.cpu_s, 1e9, size_bytes)) for one in uses),
    )


def _per(value: float | None, by: int) -> float | None:
    return None if value is None or not by else round(value / by, 2)


def _scaled(value: float | None, factor: float, by: int) -> float | None:
    return None if value is None or not by else value * factor / by


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
