"""What the archive says about this gateway's deliveries, applied to the ledger.

Invariant: only custody with the sha256 that the spool holds resolves a delivery; with another one
it is counted and ignored, because it speaks of other bytes. Must not remove anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts import codec
from contracts.events import CustodyMember, CustodyRecorded, CustodyState
from contracts.failures import PoisonError
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState
from infra.clock import Clock
from infra.seams import ConsumedRecord
from infra.telemetry import Metrics, logger

_LOG = logger("custody")
_RESOLVED = {
    CustodyState.ARCHIVED: DeliveryState.ARCHIVED,
    CustodyState.QUARANTINED: DeliveryState.QUARANTINED,
}


@dataclass(frozen=True, slots=True)
class CustodyDesk:
    """Applies custody records of one gateway."""

    gateway_id: str
    progress: Progress
    clock: Clock
    metrics: Metrics

    def apply(self, record: ConsumedRecord) -> None:
        """Takes in one record; those of other gateways and undecodable ones change nothing."""
        try:
            custody = codec.decode(record.value or b"", CustodyRecorded)
        except PoisonError as problem:
            _LOG.error("custody record not readable", offset=record.offset, problem=str(problem))
            self.metrics.count("hilum_forward_custody_total", outcome="unreadable")
            return
        if custody.gateway_id != self.gateway_id:
            return
        for member in custody.members:
            outcome = self._apply_member(custody, member)
            self.metrics.count("hilum_forward_custody_total", outcome=outcome)

    def _apply_member(self, custody: CustodyRecorded, member: CustodyMember) -> str:
        known = self.progress.find(member.delivery_id)
        if known is None:
            return "unknown"
        if known.content_sha256 != member.content_sha256:
            _LOG.error(
                "custody for other bytes ignored",
                delivery_id=member.delivery_id,
                state=custody.state.value,
                spooled_sha256=known.content_sha256,
                custody_sha256=member.content_sha256,
            )
            return "other_sha256"
        if custody.state is CustodyState.REPLICATED:
            self.progress.replicate(member.delivery_id, custody.at)
        elif custody.state is CustodyState.REFUSED:
            self.progress.refuse(member.delivery_id)
        else:
            state = _RESOLVED[custody.state]
            self.progress.resolve(member.delivery_id, state, custody.at, self.clock.now())
        return custody.state.value
