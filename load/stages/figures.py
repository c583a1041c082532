"""A run's figures, as `load history` compares them from run to run.

Invariant: every figure is shown without a verdict: goals are the comparison's, where a peer has
run beside. What nobody could tell is not measured, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from load.report.model import Figure, Verdict
from load.senders import SendRun, merged, quantiles_us
from load.stages.sections import disk_figures
from load.stages.timeline import Stage
from load.stages.whole_way import StageRun

_RATED = (Stage.ARCHIVED, Stage.INDEXED, Stage.REPLICATED)


def run_figures(run: StageRun) -> tuple[Figure, ...]:
    """Rates and times of the stages, cost per GB and per 1,000 instances, disk."""
    size, count = run.bytes_acknowledged, run.acknowledged
    cpu_s = run.resources.cpu_s
    return (
        *send_figures(run.sends),
        *(_figure(f"rate-{s.value}", s.value, "instances/s", run.rate(s)) for s in _RATED),
        *_times(run),
        _cost("cpu-per-gb", "CPU of all processes per GB", "s/GB", _per(cpu_s * 1e9, size)),
        _cost(
            "cpu-per-1000",
            "CPU of all processes per 1,000 instances",
            "s/1,000",
            _per(cpu_s * 1e3, count),
        ),
        *(_cost(name, title, "", value) for name, title, value in disk_figures(run)),
    )


def send_figures(sends: Sequence[SendRun]) -> tuple[Figure, ...]:
    """What senders saw, all lanes together: rate, and the latency of a C-STORE."""
    answered = [one for send in sends for one in send.outcomes if one.answered_at is not None]
    first = min((one.sent_at for one in answered), default=0.0)
    last = max((one.answered_at or 0.0 for one in answered), default=0.0)
    acknowledged = sum(send.acknowledged for send in sends)
    rate = acknowledged / (last - first) if last > first else None
    # Since an instance was due: a receiver that stalls an open loop cannot hide it.
    quantiles = quantiles_us(merged(send.latency_from_due for send in sends))
    return (
        _figure("send-rate", "acknowledged, as the sender saw it", "instances/s", rate),
        *(
            _cost(
                f"c-store-{name}",
                f"C-STORE, {name}",
                "ms",
                quantiles[name] / 1e3 if name in quantiles else None,
            )
            for name in ("p50", "p99", "p99.9")
        ),
    )


def _times(run: StageRun) -> list[Figure]:
    found = []
    for stage in (Stage.ARCHIVED, Stage.INDEXED, Stage.REPLICATED):
        quantiles = quantiles_us(run.timeline.latency(stage))
        for name in ("p50", "p99", "p99.9"):
            value = quantiles[name] / 1e6 if name in quantiles else None
            title = f"time to {stage.value}, {name}"
            found.append(_cost(f"time-{stage.value}-{name}", title, "s", value))
    return found


def _cost(name: str, title: str, unit: str, value: float | None) -> Figure:
    return _figure(name, title, unit, value, higher_is_better=False)


def _figure(
    name: str, title: str, unit: str, value: float | None, *, higher_is_better: bool = True
) -> Figure:
    if value is None:
        return Figure(name, title, unit, Verdict.NOT_MEASURED, note="nobody could tell")
    return Figure(
        name,
        title,
        unit,
        Verdict.SHOWN,
        value=value,
        ours=(value,),
        higher_is_better=higher_is_better,
    )


def _per(value: float, by: int) -> float | None:
    return value / by if by else None
