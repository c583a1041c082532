"""The metrics of a worker process: gathered, and handed to the acceptor, which adds them up.

Invariant: what is handed over is what counters have grown by, so that the gateway's sums never
fall when a worker begins anew. Gauges are the acceptor's. Safe from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

from edge_gateway.workers.messages import Counted, Observed
from infra.metric_list import MetricName
from infra.telemetry import Metrics

# Some 20 bytes each: a message of them stays far below the limit.
OBSERVED_IN_ONE = 1_000
# What an acceptor that stands still may cost a worker; more are counted by nobody.
OBSERVED_MAX = 100_000


class RelayedMetrics(Metrics):
    """In place of `Metrics`, in a process that nobody scrapes."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counted: Counter[tuple[MetricName, tuple[tuple[str, str], ...]]] = Counter()
        self._observed: dict[MetricName, list[float]] = defaultdict(list)

    def count(self, name: MetricName, by: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        with self._lock:
            self._counted[name, tuple(labels.items())] += by  # type: ignore[assignment]

    def observe(self, name: MetricName, seconds: float, **labels: str) -> None:
        """Adds an observation to a histogram, which has no labels."""
        assert not labels
        with self._lock:
            if len(self._observed[name]) < OBSERVED_MAX:
                self._observed[name].append(round(seconds, 6))

    def take(self) -> list[Counted | Observed]:
        """What has come since the last call, as messages."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
            observed, self._observed = self._observed, defaultdict(list)
        messages: list[Counted | Observed] = [
            Counted(name, by, dict(labels)) for (name, labels), by in counted.items() if by
        ]
        for name, values in observed.items():
            for start in range(0, len(values), OBSERVED_IN_ONE):
                messages.append(Observed(name, values[start : start + OBSERVED_IN_ONE]))
        return messages
