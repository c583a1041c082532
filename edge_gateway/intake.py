"""What all associations store into, and what is noted of each: its begin, its answers, its end.

Invariant: a response that is sent has its receipt, appended before; a fault of the spool while
noting costs no more than the note. Must not know how bytes travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from contracts.identity import DeliveryIds, is_uid
from edge_gateway import status
from edge_gateway.confirmation import Confirmations
from edge_gateway.levels import Level
from edge_gateway.spool import (
    AssociationOpened,
    Ending,
    Receipt,
    Spool,
    SpoolBroken,
    SpooledDelivery,
    SpoolFull,
)
from edge_gateway.store_intake import StoreIntake
from edge_gateway.store_request import Peer, StoreRequest
from infra.clock import Clock
from infra.telemetry import Metrics, logger

_LOG = logger("intake")


class Intake:
    """The gateway's storage, shared by all associations; safe from any thread."""

    def __init__(
        self,
        spool: Spool,
        metrics: Metrics,
        clock: Clock,
        confirmations: Mapping[Level, Confirmations] = MappingProxyType({}),
    ) -> None:
        self.spool = spool
        self.metrics = metrics
        self.clock = clock
        # A level that is not in it cannot be reached here.
        self.confirmations = confirmations
        self.ids = DeliveryIds()

    def open_association(
        self, peer: Peer, give_up: Callable[[], None] = lambda: None
    ) -> AssociationIntake:
        """Notes the association in the spool (flushed with the next commit).

        `give_up` ends the connection, from another thread, while this one is held by the disk.
        """
        association = AssociationIntake(self, peer, self.ids.mint(), give_up)
        self._note_opened(association)
        return association

    def _note_opened(self, association: AssociationIntake) -> None:
        peer = association.peer
        try:
            self.spool.association_opened(
                AssociationOpened(
                    association_id=association.association_id,
                    calling_ae_title=peer.calling_ae_title,
                    called_ae_title=peer.called_ae_title,
                    peer_address=peer.address,
                    peer_implementation_class_uid=peer.implementation_class_uid,
                    peer_implementation_version_name=peer.implementation_version_name,
                    opened_at=self.clock.now(),
                )
            )
        except (SpoolFull, SpoolBroken) as failure:
            # Each C-STORE finds the same out for itself and is refused with A700.
            _LOG.warning("noting an association failed", reason=str(failure))


class AssociationIntake:
    """The C-STOREs of one association. Used by one thread."""

    def __init__(
        self, intake: Intake, peer: Peer, association_id: str, give_up: Callable[[], None]
    ) -> None:
        self.intake = intake
        self.peer = peer
        self.association_id = association_id
        self.give_up = give_up

    def begin(self, request: StoreRequest) -> StoreIntake:
        """Starts to take one data set; never raises for what the request says."""
        return StoreIntake(self, request, self.intake.ids.mint())

    def close(self, ending: Ending) -> dict[str, int]:
        """Notes the end; returns the responses by status (hexadecimal) for the log."""
        self.intake.metrics.count("hilum_association_total", ended=ending.value)
        try:
            closed = self.intake.spool.association_closed(self.association_id, ending)
        except (SpoolFull, SpoolBroken) as failure:
            # Recovery closes what was left open, so the receipt is late and not lost.
            _LOG.warning("noting the end of an association failed", reason=str(failure))
            return {}
        return {f"{value:04X}": count for value, count in closed.status_totals}

    def note_answer(
        self, request: StoreRequest, delivery: SpooledDelivery | None, delivery_id: str, value: int
    ) -> None:
        """Appends the receipt of a response that is about to be sent, and counts it."""
        self.intake.metrics.count("hilum_store_response_total", status=f"{value:04X}")
        if delivery is not None and value == status.SUCCESS.value:
            self.intake.metrics.count("hilum_store_received_bytes_total", delivery.size_bytes)
        receipt = Receipt(
            association_id=self.association_id,
            delivery_id=delivery_id,
            sop_instance_uid=request.sop_instance_uid if is_uid(request.sop_instance_uid) else "",
            content_sha256=delivery.content_sha256 if delivery else None,
            status=value,
            answered_at=self.intake.clock.now(),
        )
        try:
            self.intake.spool.append_receipt(receipt)
        except (SpoolFull, SpoolBroken) as failure:
            # A durable delivery without a receipt gets one at recovery; a refusal needs none.
            _LOG.warning("appending a receipt failed", reason=str(failure))
