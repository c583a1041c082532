"""Instances of a test, sent by one calling AE title or another to a running gateway."""

from __future__ import annotations

from pathlib import Path

from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import ScuLimits, SendResult, StoreScu
from tests.edge_gateway.modality import data_set
from tests.edge_gateway.running_gateway import RunningGateway

STUDY = "1.2.826.0.1.3680043.8.498.700"
# Who sends waits as long as a test may take, so that only the gateway decides.
PATIENT = ScuLimits(connect_timeout_s=120, answer_timeout_s=400)


def rule(calling: str, **more: object) -> dict[str, object]:
    """A rule of `admit` from loopback."""
    return {"calling_ae_title": calling, "network": "127.0.0.0/8"} | more


def instance(directory: Path, number: int, size_bytes: int) -> OutgoingInstance:
    """A CT image of about `size_bytes`."""
    path = directory / f"{number}-{size_bytes}.dcm"
    path.write_bytes(data_set(STUDY, f"{STUDY}.1.{number}", size_bytes))
    found = read_outgoing(path)
    assert isinstance(found, OutgoingInstance)
    return found


def send(gateway: RunningGateway, calling: str, *instances: OutgoingInstance) -> list[SendResult]:
    """What became of each."""
    results: list[SendResult] = []
    StoreScu(PATIENT).send(instances, gateway.peer(calling), results.append)
    return results
