"""The ingest matrix as tables and plots.

Invariant: every cell that has no samples says why in the failures or as a dash. It must not
measure nor decide a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from load.compare.bench import Bench
from load.compare.contest import Column, Sample
from load.compare.goals import OURS, PEERS_ROUND
from load.compare.statistics import SAMPLES_MIN, interval, ratio_interval
from load.receivers import RECEIVERS
from load.report.model import Plot, Section, Series, Table, Value
from load.senders import merged, quantiles_us
from load.senders.latency import QUANTILES


def ingest_sections(columns: Sequence[Column], bench: Bench) -> tuple[Section, ...]:
    """The matrix, what it cost, how long answers took, and the sender's own limits."""
    seed = bench.seed
    keys = [key for key in PEERS_ROUND if any(column.samples.get(key) for column in columns)]
    keys.sort(key=lambda key: key != OURS)
    if not keys:
        return ()
    return (
        Section(
            "Ingest, bare gateway and peers",
            f"Instances acknowledged per second. Stock is DCMTK {bench.stock} as packaged, one"
            " process an association, its start and association inside the time; lean sends encoded"
            " frames over raw sockets with one object in flight an association. Means over the"
            " turns; 'flushed' tells whether what is acknowledged survives a power loss.",
            tables=(_rates(columns, keys), _costs(columns, keys)),
            plots=(_rate_plot(columns, keys, seed), _ratio_plot(columns, keys, seed)),
        ),
        Section(
            "Answers to the lean sender",
            "From the first byte of a C-STORE to its response, all turns together.",
            tables=(_latencies(columns, keys),),
            plots=tuple(_latency_plots(columns, keys)),
        ),
        Section(
            "The sender's own limits",
            "A rate near the ceiling measures the sender: the receiver may be faster.",
            tables=(_ceilings(columns),),
        ),
    )


def _title(key: str) -> str:
    return RECEIVERS[key].title if key in RECEIVERS else key


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _rates(columns: Sequence[Column], keys: Sequence[str]) -> Table:
    def cell(column: Column, key: str) -> Value:
        found = column.samples.get(key, ()) if key not in column.dropped else ()
        rate = _mean([sample.rate for sample in found])
        megabytes = _mean([sample.megabytes_per_s for sample in found])
        return None if rate is None else f"{rate:,.0f}/s · {megabytes:,.1f} MB/s"

    rows = tuple(
        (
            _title(key),
            "yes" if key in RECEIVERS and RECEIVERS[key].is_durable else "no",
            *(cell(column, key) for column in columns),
        )
        for key in keys
    )
    titles = tuple(column.cell.title for column in columns)
    note = (
        "DCMTK storescp and Orthanc have no option for an address: they listen on all interfaces"
        " while they are measured."
    )
    return Table("Rate by receiver and sender", ("receiver", "flushed", *titles), rows, note)


def _costs(columns: Sequence[Column], keys: Sequence[str]) -> Table:
    rows = tuple(
        _cost_row(column, key)
        for column in columns
        for key in keys
        if column.samples.get(key) and key not in column.dropped
    )
    return Table(
        "What a receiver used",
        ("sender", "receiver", "instances", "CPU s per 1,000", "CPU s per GB",
         "flushes per instance", "cores busy"),
        rows,
        "CPU seconds of all the receiver's processes, ended children included.",
    )  # fmt: skip


def _cost_row(column: Column, key: str) -> tuple[Value, ...]:
    found = column.samples[key]
    count = sum(sample.acknowledged for sample in found)
    cpu_s = sum(sample.cpu_s for sample in found)
    seconds = sum(sample.seconds for sample in found)
    gigabytes = sum(sample.megabytes_per_s * sample.seconds for sample in found) / 1e3
    flushes = [sample.flushes for sample in found if sample.flushes is not None]
    return (
        column.cell.title,
        _title(key),
        count,
        round(cpu_s / count * 1e3, 3),
        round(cpu_s / gigabytes, 2) if gigabytes else None,
        round(sum(flushes) / count, 3) if flushes else None,
        round(cpu_s / seconds, 2) if seconds else None,
    )


def _rate_plot(columns: Sequence[Column], keys: Sequence[str], seed: int) -> Plot:
    return Plot(
        "Ingest rate",
        "bar",
        "sender",
        "instances/s",
        tuple(_bars(columns, key, partial(_of_rates, key=key, seed=seed)) for key in keys),
        log_y=True,
        note="Bars: mean of the turns and its 90 % interval.",
    )


def _ratio_plot(columns: Sequence[Column], keys: Sequence[str], seed: int) -> Plot:
    peers = [key for key in keys if key != OURS]
    return Plot(
        "Hilum : peer",
        "bar",
        "sender",
        "ratio of rates",
        tuple(_bars(columns, key, partial(_of_pairs, key=key, seed=seed)) for key in peers),
        log_y=True,
        note="Geometric mean over pairs of one turn, 90 % interval. Above 1 we are faster.",
    )


Ends = tuple[float, float, float]


def _bars(columns: Sequence[Column], key: str, ends: Callable[[Column], Ends | None]) -> Series:
    found = [(column.cell.title, ends(column)) for column in columns]
    present = [(title, value) for title, value in found if value is not None]
    return Series(
        _title(key),
        tuple(title for title, _ in present),
        tuple(value[0] for _, value in present),
        tuple(value[1] for _, value in present),
        tuple(value[2] for _, value in present),
    )


def _of_rates(column: Column, *, key: str, seed: int) -> Ends | None:
    rates = column.rates(key)
    if len(rates) < SAMPLES_MIN:
        return None
    found = interval(rates, seed=seed)
    # A logarithmic axis has no place for an end below zero.
    return found.value, max(found.low, found.value / 10), found.high


def _of_pairs(column: Column, *, key: str, seed: int) -> Ends | None:
    ours, theirs = column.rates(OURS), column.rates(key)
    if len(ours) < SAMPLES_MIN or len(ours) != len(theirs) or min(*ours, *theirs) <= 0:
        return None
    found = ratio_interval(ours, theirs, seed=seed)
    return found.value, found.low, found.high


def _merged(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Milliseconds at QUANTILES, over all turns."""
    return tuple(
        value / 1e3 for value in quantiles_us(merged(sample.latency for sample in samples)).values()
    )


def _lean(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.cell.is_lean]


def _latencies(columns: Sequence[Column], keys: Sequence[str]) -> Table:
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            column.cell.title,
            _title(key),
            *(_significant(value) for value in _merged(column.samples[key])),
        )
        for column in _lean(columns)
        for key in keys
        if column.samples.get(key)
    )
    return Table(
        "Time to the response, ms",
        ("sender", "receiver", *QUANTILES),
        rows,
    )


def _significant(value: float) -> float:
    return round(value, max(0, 2 - math.floor(math.log10(value)))) if value > 0 else 0.0


def _latency_plots(columns: Sequence[Column], keys: Sequence[str]) -> list[Plot]:
    names = tuple(QUANTILES)
    return [
        Plot(
            f"Time to the response, {column.cell.title}",
            "points",
            "percentile",
            "ms",
            tuple(
                Series(_title(key), names, _merged(column.samples[key]))
                for key in keys
                if column.samples.get(key)
            ),
            log_y=True,
        )
        for column in _lean(columns)
        if column.cell.associations > 1
    ]


def _ceilings(columns: Sequence[Column]) -> Table:
    rows = tuple(
        (
            column.cell.title,
            round(column.ceiling) if column.ceiling else None,
            _share(column, lambda sample: sample.sender_share),
            round(max(_fastest(column), 0) / column.ceiling, 3) if column.ceiling else None,
        )
        for column in columns
    )
    return Table(
        "The sender against a receiver that drops everything",
        ("sender", "ceiling, instances/s", "CPU share of its cores, beside ours",
         "fastest receiver : ceiling"),
        rows,
        "Stock senders have no ceiling of their own here: they are peers' programs, measured as"
        " packaged.",
    )  # fmt: skip


def _share(column: Column, of: Callable[[Sample], float]) -> float | None:
    found = _mean([of(sample) for sample in column.samples.get(OURS, ())])
    return None if found is None else round(found, 3)


def _fastest(column: Column) -> float:
    return max((s.rate for found in column.samples.values() for s in found), default=0.0)
