"""Latencies as HDR histograms: 1 µs to 10 minutes, three significant digits.

Invariant: histograms of any two runs can be merged, and a value outside the range is counted at
its end, never dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hdrh.histogram import HdrHistogram

LOWEST_US = 1
HIGHEST_US = 600_000_000
SIGNIFICANT_DIGITS = 3
QUANTILES: Mapping[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}


def latency_histogram(microseconds: Iterable[int]) -> HdrHistogram:
    """The histogram of these latencies."""
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for value, count in Counter(microseconds).items():
        histogram.record_value(min(max(value, LOWEST_US), HIGHEST_US), count)
    return histogram


def merged(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """One histogram of all that those hold."""
    total = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for histogram in histograms:
        total.add(histogram)
    return total


def quantiles_us(histogram: HdrHistogram) -> dict[str, float]:
    """p50, p90, p99 and p99.9 in microseconds; empty where nothing was recorded."""
    if not histogram.get_total_count():
        return {}
    return {
        name: float(histogram.get_value_at_percentile(percentile))
        for name, percentile in QUANTILES.items()
    }
