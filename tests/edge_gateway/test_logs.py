"""No log line of a gateway carries a value of a header, whatever was sent and whatever failed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread

from edge_gateway.association.connection import ConnectionLost, DeadlinePassed
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import Peer, StoreScu
from infra.settings import Settings
from load.hostile.raw_peer import P_DATA, RawPeer, data_set, element, pdu, pdv, store_command
from operations.ports import free_ports
from operations.synthetic import CtStudy
from tests.edge_gateway.forwarding import (
    ROOT,
    STOP_TIMEOUT_S,
    ForwarderProcess,
    eventually,
    forwarder_settings,
    provide_topics,
)
from tests.edge_gateway.running_gateway import echo

NAME = "Zqxfamily^Wvugiven"
IDENTIFYING = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber"),
    *("StudyDescription", "ReferringPhysicianName"),
)


def words_of(header: Dataset) -> set[str]:
    """What of a header tells who it is about."""
    values = {str(header[keyword].value) for keyword in IDENTIFYING}
    return values | set(NAME.split("^"))


@contextmanager
def receiving(settings: Settings, file: Path, log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "edge_gateway", "receive", "--gateway", "north"]
    with log.open("ab") as out:
        process = subprocess.Popen([*command, "--settings", str(file)], cwd=ROOT, stderr=out)
    try:
        peer = Peer("127.0.0.1", settings.gateways["north"].dicom_port, "NORTH", "TESTER")
        eventually(lambda: answers(peer), "the gateway answers")
        yield
        process.terminate()
        assert process.wait(STOP_TIMEOUT_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def answers(peer: Peer) -> bool:
    try:
        return echo(peer) == 0
    except (ConnectionLost, DeadlinePassed):
        return False


def send_what_is_wrong(port: int) -> int:
    """Names in the middle of everything that can go wrong; how many instances were accepted."""
    name = element(0x0010, NAME.encode(), group=0x0010)
    with RawPeer(port) as peer:
        peer.associate()
        # The header breaks off behind the name; another one names no instance at all.
        cut = data_set(b"1.2.3.4.6") + b"\x20\x00\x10\x00\xff\xff\xff"
        cut = cut.replace(element(0x000D, b"1.2.3\0", group=0x0020), name)
        statuses = [peer.store(store_command(b"1.2.3.4.6"), cut)]
        statuses.append(peer.store(store_command(b"1.2.3.4.7"), name))
        # Given up in the middle of a data set.
        peer.send(pdu(P_DATA, pdv(1, 3, store_command(b"1.2.3.4.8"))))
        peer.send(pdu(P_DATA, pdv(1, 0, name)))
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(pdu(P_DATA, pdv(1, 3, name)))  # a command set that is none
        peer.send(NAME.encode() * 10)
        peer.read_pdu()
    return sum(status == 0 for status in statuses)


def test_names_of_patients_are_in_no_log_line_of_either_process(
    engine_settings: Settings, tmp_path: Path
) -> None:
    provide_topics(engine_settings)
    dicom_port, http_port = free_ports(2)
    settings = forwarder_settings(engine_settings, dicom_port=dicom_port, http_port=http_port)
    settings = settings.model_copy(update={"log_level": "debug"})
    forward = ForwarderProcess(settings, tmp_path)
    (file,) = tmp_path.glob("settings-*.toml")
    study = CtStudy(3, rows=16, patient_name=NAME)
    paths = study.write(tmp_path / "study")
    instances = [one for p in paths if isinstance(one := read_outgoing(p), OutgoingInstance)]
    receive_log = tmp_path / "receive.log"
    with receiving(settings, file, receive_log):
        peer = Peer("127.0.0.1", dicom_port, "NORTH", "TESTER")
        assert StoreScu().send(instances, peer).stored == len(paths)
        wrong = send_what_is_wrong(dicom_port)
        assert wrong, "none of the damaged data sets went on to the forwarder"
        accepted = len(paths) + wrong
        forward.start()
        try:
            published = "hilum_forward_published_total"
            eventually(lambda: forward.metric(published) >= accepted, "all published")
            eventually(lambda: forward.metric("hilum_scan_incomplete_total") == wrong, "told")
            assert forward.stop() == 0
        finally:
            forward.end()
    (forward_log,) = tmp_path.glob("forward-*.log")
    for log in (receive_log, forward_log):
        text = log.read_text()
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
        leaked = {word for word in words_of(dcmread(paths[0])) if word.lower() in text.lower()}
        assert not leaked, f"{log.name} tells {leaked}"
    ended = [line for line in receive_log.read_text().splitlines() if "association ended" in line]
    assert ended and all(json.loads(line)["association_id"] for line in ended)
