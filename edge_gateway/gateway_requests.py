"""What the centre asks of this gateway (`imaging.gateway.request.v1`), obeyed and accounted for.

Invariant: a request is obeyed in the same ledger batch in which its offset is passed; what cannot
be obeyed is reported with its reason and stops nothing. A delivery that nobody archived is never
released. Must not publish anything itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class RequestDesk:
    """Obeys the requests of one gateway."""

    gateway_id: str
    progress: Progress
    clock: Clock
    metrics: Metrics

    def apply(self, record: ConsumedRecord) -> list[str]:
        """Obeys one record; the deliveries whose bytes may go now.

        The caller removes those after the ledger is durable.
        """
        try:
            request = codec.decode(record.value or b"", GatewayRequest)
        except PoisonError as cause:
            self._failed(record.offset, f"not readable: {cause.reason.value}")
            return []
        if request.gateway_id != self.gateway_id:
            return []
        problems: Counter[str] = Counter()
        released: list[str] = []
        for delivery_id in request.delivery_ids:
            problem = self._obey(request.kind, delivery_id, released)
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
        self.progress.purge(released, self.clock.now())
        return released

    def failed(self) -> tuple[FailedRequest, ...]:
        """The last requests that could not be obeyed wholly, oldest first."""
        kept = orjson.loads(self.progress.note(_FAILED) or "[]")
        return tuple(FailedRequest(int(offset), str(reason)) for offset, reason in kept)

    def _obey(self, kind: RequestKind, delivery_id: str, released: list[str]) -> str:
        """'' where it was obeyed, else why not."""
        known = self.progress.find(delivery_id)
        if known is None:
            return "unknown"
        if known.state in (DeliveryState.PURGED, DeliveryState.LOST):
            return "" if kind is RequestKind.RELEASE else known.state.value
        if kind is RequestKind.RELEASE:
            if known.state not in _RELEASABLE:
                return "not archived"
            released.append(delivery_id)
            return ""
        if known.state is not DeliveryState.SPOOLED:
            self.metrics.count("hilum_forward_republished_total", cause="request")
        self.progress.spool_again(delivery_id)
        return ""

    def _failed(self, offset: int, reason: str) -> None:
        _LOG.warning("request not obeyed", offset=offset, reason=reason)
        kept = [[item.offset, item.reason] for item in self.failed()]
        kept.append([offset, reason])
        self.progress.set_note(_FAILED, orjson.dumps(kept[-FAILED_KEPT_MAX:]).decode())
