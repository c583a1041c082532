"""What the centre asks of this gateway (`imaging.gateway.request.v1`), obeyed and accounted for.

Invariant: a request is obeyed in the same ledger batch in which its offset is passed; what cannot
be obeyed is reported with its reason and stops nothing. A delivery that nobody archived is never
released. Must not publish anything itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import orjson

from contracts import codec
from contracts.events import FailedRequest, GatewayRequest, RequestKind
from contracts.failures import PoisonError
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState
from infra.clock import Clock
from infra.seams import ConsumedRecord
from infra.telemetry import Metrics, logger

FAILED_KEPT_MAX = 100
_FAILED = "requests_failed"
_RELEASABLE = frozenset((DeliveryState.ARCHIVED, DeliveryState.QUARANTINED, DeliveryState.REFUSED))
_LOG = logger("gateway_requests")


@dataclass(slots=True)
class Obeyed:
    """What a request leaves to others: bytes that may go, deliveries that go out once more."""

    released: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RequestDesk:
    """Obeys the requests of one gateway."""

    gateway_id: str
    progress: Progress
    clock: Clock
    metrics: Metrics

    def apply(self, record: ConsumedRecord) -> Obeyed:
        """Obeys one record.

        The caller removes what is released, after the ledger is durable, and recalls what is to
        go again and is on its way.
        """
        try:
            request = codec.decode(record.value or b"", GatewayRequest)
        except PoisonError as cause:
            self._failed(record.offset, f"not readable: {cause.reason.value}")
            return Obeyed()
        if request.gateway_id != self.gateway_id:
            return Obeyed()
        problems: Counter[str] = Counter()
        obeyed = Obeyed()
        for delivery_id in request.delivery_ids:
            problem = self._obey(request.kind, delivery_id, obeyed)
            if problem:
                problems[problem] += 1
        _LOG.info(
            "request obeyed",
            kind=request.kind.value,
            offset=record.offset,
            deliveries=len(request.delivery_ids),
            problems=sum(problems.values()),
        )
        if problems:
            told = ", ".join(f"{count} {name}" for name, count in sorted(problems.items()))
            self._failed(record.offset, f"{request.kind.value}: {told}")
        self.progress.purge(obeyed.released, self.clock.now())
        return obeyed

    def failed(self) -> tuple[FailedRequest, ...]:
        """The last requests that could not be obeyed wholly, oldest first."""
        kept = orjson.loads(self.progress.note(_FAILED) or "[]")
        return tuple(FailedRequest(int(offset), str(reason)) for offset, reason in kept)

    def _obey(self, kind: RequestKind, delivery_id: str, obeyed: Obeyed) -> str:
        """'' where it was obeyed, else why not."""
        known = self.progress.find(delivery_id)
        if known is None:
            return "unknown"
        if known.state in (DeliveryState.PURGED, DeliveryState.LOST):
            return "" if kind is RequestKind.RELEASE else known.state.value
        if kind is RequestKind.RELEASE:
            if known.state not in _RELEASABLE:
                return "not archived"
            obeyed.released.append(delivery_id)
            return ""
        if known.state is not DeliveryState.SPOOLED:
            self.metrics.count("hilum_forward_republished_total", cause="request")
        self.progress.spool_again(delivery_id)
        obeyed.again.append(delivery_id)
        return ""

    def _failed(self, offset: int, reason: str) -> None:
        _LOG.warning("request not obeyed", offset=offset, reason=reason)
        kept = [[item.offset, item.reason] for item in self.failed()]
        kept.append([offset, reason])
        self.progress.set_note(_FAILED, orjson.dumps(kept[-FAILED_KEPT_MAX:]).decode())
