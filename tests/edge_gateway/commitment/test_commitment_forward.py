"""The whole way of a commitment: stored, asked, archived, reported; to pynetdicom and Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.events import CustodyState
from edge_gateway.commitment.request import Reference
from edge_gateway.receive import Receiver
from infra.settings import Settings
from operations.ports import free_ports
from tests.edge_gateway.centre_side import Centre, archived
from tests.edge_gateway.commitment.modality_scu import CT, action_information, ask, listening
from tests.edge_gateway.forwarding import eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import (
    StartForwarder,
    centre,
    modality,
    north_settings,
    start_forwarder,
)
from tests.edge_gateway.modality import Modality
from tests.edge_gateway.orthanc_scu import OrthancScu, orthanc_program

__all__ = ["centre", "modality", "north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.210"


def with_commitment(settings: Settings, ae_title: str, port: int) -> Settings:
    peer = {"ae_title": ae_title, "host": "127.0.0.1", "port": port}
    return forwarder_settings(
        settings, dicom_port=0, http_port=0, commitment={"peers": [peer], "wait_s": 3600}
    )


@contextmanager
def receiving(settings: Settings, modality: Modality) -> Iterator[int]:
    """The receive side of gateway north on the modality's spool; its DICOM port."""
    receiver = Receiver(settings.gateways["north"], modality.spool)
    receiver.start()
    try:
        yield receiver.addresses.dicom_port
    finally:
        receiver.stop()


def test_a_modality_is_told_after_a_kill_what_the_archive_has(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    with listening("CT1") as ct:
        settings = with_commitment(north_settings, "CT1", ct.port)
        association_id = modality.associate()
        stored = [modality.store(association_id, STUDY) for _ in range(3)]
        references = [Reference(CT, delivery.sop_instance_uid) for delivery in stored]
        never_seen = Reference(CT, f"{STUDY}.999")
        with receiving(settings, modality) as port:
            assert ask(port, "CT1", action_information([*references, never_seen])) == 0
        process = start_forwarder(settings)
        eventually(lambda: len(centre.received()) == 3, "published")
        eventually(lambda: "1 open" in process.readiness()[1], "waits for the archive")
        assert not ct.reports
        process.kill()
        centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()))
        process.start()
        eventually(lambda: bool(ct.reports), f"reported: {process.log()}")
        # Its listener hears the answer's way back out.
        eventually(lambda: process.metric("hilum_commitment_report_total") == 1, "counted")
    (report,) = ct.reports
    assert report.event_type == 2 and report.committed == frozenset(references)
    assert report.failed == {never_seen: 0x0112}


def test_orthanc_asks_and_takes_the_report(
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    start_forwarder: StartForwarder,
    tmp_path: Path,
) -> None:
    program = orthanc_program()
    (gateway_port,) = free_ports(1)
    orthanc = OrthancScu(tmp_path, {"north": ("NORTH", gateway_port)})
    settings = with_commitment(north_settings, "ORTHANC", orthanc.dicom_port)
    gateway = settings.gateways["north"].model_copy(update={"dicom_port": gateway_port})
    settings = settings.model_copy(update={"gateways": {"north": gateway}})
    delivery = modality.store(modality.associate(), STUDY)
    asked = {"DicomInstances": [[CT, delivery.sop_instance_uid], [CT, f"{STUDY}.999"]]}
    with receiving(settings, modality), orthanc.running(program):
        start_forwarder(settings)
        eventually(lambda: len(centre.received()) == 1, "published")
        centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()))
        path = orthanc.ask("/modalities/north/storage-commitment", asked)["Path"]
        eventually(lambda: orthanc.ask(path)["Status"] != "Pending", "Orthanc has the report")
        found = orthanc.ask(path)
    assert found["Status"] == "Failure" and found["RemoteAET"] == "NORTH"
    assert [i["SOPInstanceUID"] for i in found["Success"]] == [delivery.sop_instance_uid]
    assert [i["SOPInstanceUID"] for i in found["Failures"]] == [f"{STUDY}.999"]
    assert 0x0112 in found["Failures"][0].values()
