"""The forwarder of a mirror: it releases what the archive has, and is silent while the first
spool lives; once that is lost it publishes what nobody archived.

Invariant: a silent one publishes nothing at all; what it releases was called archived by custody,
which it hears only while the mirror has everything that custody may speak of. Must not copy.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from edge_gateway.forward import ForwardProcess
from edge_gateway.forwarder import Forwarder, ForwarderParts
from edge_gateway.progress_receipts import ReceiptLedger
from edge_gateway.progress_rows import DeliveryState
from edge_gateway.retention import SegmentNeeds
from edge_gateway.spool import GatewayIdentity, SpoolSet
from infra.settings import Settings
from infra.settings_commitment import CommitmentSettings

# By then the receipts of what was archived are published: their pages are a minute old at most.
HOLD_S_MAX = 600
_CHECK_INTERVAL_S = 1.0
# So many states after the end the centre knows of it.
_STATES_TOLD = 3
_LEFT = (
    DeliveryState.SPOOLED,
    DeliveryState.PUBLISHED,
    DeliveryState.REFUSED,
    DeliveryState.LOST,
)


def settings_of_mirror(settings: Settings, name: str, directory: Path) -> Settings:
    """The gateway's settings for the forwarder of its mirror, which nobody asks for anything."""
    gateway = settings.gateway(name)
    spool = gateway.spool.model_copy(
        update={"directory": directory, "hold_s": min(gateway.spool.hold_s, HOLD_S_MAX)}
    )
    # Nobody asks a mirror of what it has purged.
    changes = {"spool": spool, "admit": (), "commitment": CommitmentSettings(kept_days=1)}
    changed = gateway.model_copy(update=changes)
    return settings.model_copy(update={"gateways": {**settings.gateways, name: changed}})


class NothingElse:
    """A segment of a silent mirror is needed for its deliveries alone."""

    def has_receipts_in(self, segment: int) -> bool:
        """Never: the first spool publishes them."""
        return False

    def has_ends_in(self, segment: int) -> bool:
        """Never, as well."""
        return False


class SilentForwarder(Forwarder):
    """Takes in the spool and custody, and releases."""

    def __init__(
        self,
        parts: ForwarderParts,
        gateway_id: str,
        republish_after: timedelta,
        spools: SpoolSet,
    ) -> None:
        super().__init__(parts, gateway_id, republish_after)
        self._receipts = ReceiptLedger(parts.progress.connection)
        self._spools = spools
        self._first_segment = 0

    def step(self) -> bool:
        """As the forwarder's, with nothing going out; what went with its segment is forgotten."""
        moved = super().step()
        first = min(self._spools.segment_numbers(), default=0)
        if first > self._first_segment:
            self._first_segment = first
            self._receipts.forget_before_segment(first)
        return moved

    def _may_speak(self) -> bool:
        return False


class DrainingForwarder(Forwarder):
    """Publishes as any forwarder does, and calls `when_drained` when nothing is left to be done."""

    def __init__(
        self,
        parts: ForwarderParts,
        gateway_id: str,
        republish_after: timedelta,
        when_drained: Callable[[], None],
    ) -> None:
        super().__init__(parts, gateway_id, republish_after)
        self._receipts = ReceiptLedger(parts.progress.connection)
        self._when_drained = when_drained
        self._checked_at = 0.0
        self._drained_at: float | None = None

    def step(self) -> bool:
        """As the forwarder's."""
        moved = super().step()
        now = self._parts.clock.monotonic()
        if now - self._checked_at < _CHECK_INTERVAL_S:
            return moved
        self._checked_at = now
        if not self._is_drained():
            self._drained_at = None
        elif self._drained_at is None:
            self._drained_at = now
        elif now - self._drained_at >= _STATES_TOLD * self._parts.state.interval_s:
            self._when_drained()
        return moved

    def _is_drained(self) -> bool:
        parts = self._parts
        totals = {total.state: total.deliveries for total in parts.progress.totals()}
        left = [f"{totals[state.value]} {state.value}" for state in _LEFT if totals[state.value]]
        untold = self._receipts.unpublished()
        if untold:
            left.append(f"{untold} receipts to tell")
        parts.health.note_aside("left", f"left: {', '.join(left)}" if left else "")
        return parts.feed.has_caught_up and not left


class StandbyProcess(ForwardProcess):
    """The duties over the mirror of a spool that lives."""

    def __init__(
        self,
        settings: Settings,
        gateway_name: str,
        identity: GatewayIdentity,
        spools: SpoolSet,
        is_whole: Callable[[], bool],
    ) -> None:
        super().__init__(settings, gateway_name, identity, spools)
        self._is_whole = is_whole

    def _forwarder(self, parts: ForwarderParts, republish_after: timedelta) -> Forwarder:
        gateway_id = self._identity.gateway_id
        return SilentForwarder(parts, gateway_id, republish_after, self._spools)

    def _is_spool_whole(self) -> bool:
        return self._is_whole()

    def _segment_needs(self, receipts: ReceiptLedger) -> SegmentNeeds:
        return NothingElse()


class DrainProcess(ForwardProcess):
    """The duties over the mirror of a spool that was lost."""

    def __init__(
        self,
        settings: Settings,
        gateway_name: str,
        identity: GatewayIdentity,
        spools: SpoolSet,
        when_drained: Callable[[], None],
    ) -> None:
        super().__init__(settings, gateway_name, identity, spools)
        self._when_drained = when_drained

    def _forwarder(self, parts: ForwarderParts, republish_after: timedelta) -> Forwarder:
        gateway_id = self._identity.gateway_id
        return DrainingForwarder(parts, gateway_id, republish_after, self._when_drained)
