"""A forwarder's clock is an hour off, then set back by two while it is down: nothing follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from contracts.events import CustodyState
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre, archived
from tests.edge_gateway.forwarding import ForwarderProcess, eventually
from tests.edge_gateway.gateway_fixtures import centre, modality, north_settings
from tests.edge_gateway.modality import Modality

__all__ = ["centre", "modality", "north_settings"]
STUDY = "1.2.826.0.1.3680043.8.498.731"
HOUR_S = 3600


class ShiftedForwarder(ForwarderProcess):
    """A forwarder whose wall clock is off by `shift_s` from its next start on."""

    shift_s = 0

    @property
    def role(self) -> tuple[str, ...]:
        shifted = ("-m", "tests.edge_gateway.shifted_clock", str(self.shift_s))
        return (*shifted, "forward", "--gateway", "north")


def test_a_forwarder_whose_clock_is_off_delivers_each_once(
    north_settings: Settings, modality: Modality, centre: Centre, tmp_path: Path
) -> None:
    forwarder = ShiftedForwarder(north_settings, tmp_path)
    try:
        sent = modality.store_study(f"{STUDY}.1", 3)
        forwarder.shift_s = HOUR_S
        forwarder.start()
        eventually(lambda: centre.received_ids() == set(sent), "published under the first clock")
        told = centre.await_state(lambda state: state.is_publishing, "it speaks")
        off = told.at - datetime.now(UTC)
        assert abs(off - timedelta(seconds=HOUR_S)) < timedelta(seconds=HOUR_S / 2), "not shifted"
        centre.say_custody(CustodyState.ARCHIVED, archived(centre.received())[:1])
        eventually(lambda: centre.deliveries_in("archived") == 1, "custody is heard")
        assert forwarder.stop() == 0
        # Somebody sets it, by two hours, while it is down.
        forwarder.shift_s = -HOUR_S
        sent += modality.store_study(f"{STUDY}.2", 3)
        forwarder.start()
        eventually(lambda: centre.received_ids() == set(sent), "published under the second clock")
        forwarder.await_ready()
        centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()))
        eventually(lambda: centre.deliveries_in("archived") == len(sent), "all are archived")
        assert forwarder.metric("hilum_forward_republished_total") == 0
        assert forwarder.stop() == 0
    finally:
        forwarder.end()
    assert sorted(event.delivery_id for event in centre.received()) == sorted(sent)
    for event in centre.received():
        assert centre.payload(event) == modality.stored[event.delivery_id]
