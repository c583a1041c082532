"""A gateway whose spool a test fills, its real forwarder process, and the real bus around it.

Invariant: what a test stored is the truth (data sets by delivery_id); what arrived is read from
the topics. Everything is synthetic.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from contracts import codec
from contracts.envelope import Origin
from contracts.events import (
    AssociationReceipt,
    CustodyMember,
    CustodyRecorded,
    CustodyState,
    Event,
    GatewayRequest,
    GatewayState,
    InstanceReceived,
    RequestKind,
)
from contracts.failures import RetryableError
from contracts.identity import DeliveryIds
from contracts.topics import BY_EVENT
from edge_gateway.spool import (
    AssociationOpened,
    DeliveryFacts,
    Ending,
    Receipt,
    Spool,
    SpooledDelivery,
    SpoolLimits,
)
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.payload_reader import KafkaPayloadReader
from infra.settings import Settings, overlay, validate
from infra.topic_tail import read_all
from operations.stack_files import to_toml

DEADLINE_S = 40.0
MIB = 1024 * 1024
SEGMENT_BYTES = MIB
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ROOT = Path(__file__).resolve().parents[2]
E = TypeVar("E", bound=Event)


def eventually(is_so: Callable[[], bool], what: str, pause_s: float = 0.05) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(pause_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def forwarder_settings(settings: Settings, **gateway: object) -> Settings:
    """The settings with a fast gateway `north` on ports of its own."""
    tree = json.loads(settings.model_dump_json(exclude_none=True))
    for site in ("primary", "dr"):
        tree[site]["object_store"]["secret_key"] = "not-used-here"
        tree[site]["clickhouse"].pop("password", None)
    changes: dict[str, Any] = {
        "forwarder_http_port": free_port(),
        "state_interval_s": 0.5,
        "spool": {"segment_bytes": SEGMENT_BYTES, "free_bytes_min": 0},
    }
    kafka = gateway.pop("kafka", {})
    tree = overlay(tree, {"gateways": {"north": overlay(changes, gateway)}, "kafka": kafka})
    return validate(tree, "tests")


@dataclass
class Modality:
    """Fills a spool as the receiver does; `stored` is the truth."""

    spool: Spool
    stored: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    ids: DeliveryIds = field(default_factory=DeliveryIds)

    def associate(self) -> str:
        association_id = self.ids.mint()
        self.spool.association_opened(
            AssociationOpened(
                association_id=association_id,
                calling_ae_title="MODALITY",
                called_ae_title="NORTH",
                peer_address="127.0.0.1",
                peer_implementation_class_uid="1.2.826.0.1.3680043.8.498.1",
                peer_implementation_version_name="SYNTHETIC",
                opened_at=datetime.now(UTC),
            )
        )
        return association_id

    def store(
        self, association_id: str, study_uid: str, size_bytes: int = 2000, status: int = 0
    ) -> SpooledDelivery:
        """One C-STORE of about `size_bytes`, durable and answered."""
        number = len(self.order) + 1
        sop_instance_uid = f"{study_uid}.1.{number}" if study_uid else f"1.2.3.4.{number}"
        data = data_set(study_uid, sop_instance_uid, size_bytes)
        delivery = self.store_bytes(association_id, sop_instance_uid, data)
        self.answer(delivery, status)
        return delivery

    def store_bytes(
        self, association_id: str, sop_instance_uid: str, data: bytes
    ) -> SpooledDelivery:
        delivery_id = self.ids.mint()
        facts = DeliveryFacts(
            delivery_id=delivery_id,
            association_id=association_id,
            calling_ae_title="MODALITY",
            called_ae_title="NORTH",
            peer_address="127.0.0.1",
            peer_implementation_class_uid="1.2.826.0.1.3680043.8.498.1",
            peer_implementation_version_name="SYNTHETIC",
            received_at=datetime.now(UTC),
            sop_class_uid=CT_IMAGE_STORAGE,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=str(ExplicitVRLittleEndian),
        )
        with self.spool.begin(facts) as sink:
            sink.write(memoryview(data))
            delivery = sink.commit()
        self.stored[delivery_id] = data
        self.order.append(delivery_id)
        return delivery

    def answer(self, delivery: SpooledDelivery, status: int = 0) -> None:
        self.spool.append_receipt(
            Receipt(
                association_id=delivery.association_id,
                delivery_id=delivery.delivery_id,
                sop_instance_uid=delivery.sop_instance_uid,
                content_sha256=delivery.content_sha256,
                status=status,
                answered_at=datetime.now(UTC),
            )
        )

    def release(self, association_id: str) -> None:
        self.spool.association_closed(association_id, Ending.RELEASED)

    def store_study(self, study_uid: str, count: int, size_bytes: int = 2000) -> list[str]:
        """One association with one study."""
        association_id = self.associate()
        stored = [
            self.store(association_id, study_uid, size_bytes).delivery_id for _ in range(count)
        ]
        self.release(association_id)
        return stored


def open_modality(settings: Settings) -> Modality:
    """The receiver's end of gateway north's spool."""
    spool = settings.gateways["north"].spool
    limits = SpoolLimits(
        segment_bytes=spool.segment_bytes,
        object_in_memory_bytes_max=128 * 1024,
        spool_bytes_max=spool.spool_bytes_max or 1 << 30,
        free_bytes_min=0,
    )
    return Modality(Spool.open(spool.directory, settings.gateways["north"].site, limits))


def data_set(study_uid: str, sop_instance_uid: str, size_bytes: int) -> bytes:
    """A synthetic CT data set in explicit VR little endian, without group 2."""
    header = Dataset()
    header.SOPClassUID = CT_IMAGE_STORAGE
    header.SOPInstanceUID = sop_instance_uid
    if study_uid:
        header.StudyInstanceUID = study_uid
        header.SeriesInstanceUID = f"{study_uid}.1"
    header.Modality = "CT"
    header.PatientName = "Synthetic^Forward"
    block = hashlib.sha512(sop_instance_uid.encode()).digest()
    pixels = (block * (size_bytes // len(block) + 1))[: size_bytes // 2 * 2]
    header.add_new(0x7FE00010, "OW", pixels)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


class ForwarderProcess:
    """`python -m edge_gateway forward` of gateway north."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.port = settings.gateways["north"].forwarder_http_port
        self._file = directory / f"settings-{self.port}.toml"
        tree = json.loads(settings.model_dump_json(exclude_none=True))
        for site in ("primary", "dr"):
            tree[site]["object_store"]["secret_key"] = "not-used-here"
            tree[site]["clickhouse"].pop("password", None)
        self._file.write_text(to_toml(tree))
        self._log = directory / f"forward-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ForwarderProcess:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_gateway", "forward"]
                + ["--settings", str(self._file), "--gateway", "north"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code, within the 10 s that a forwarder may take."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def readiness(self) -> tuple[bool, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as got:
                body = json.loads(got.read())
        except urllib.error.HTTPError as refusal:
            body = json.loads(refusal.read())
        except OSError as problem:
            return False, f"unreachable: {problem}"
        return bool(body["ready"]), str(body["reason"])

    def metric(self, name: str) -> float:
        """The sum over all labels; 0 while the process is not up."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as got:
                lines = got.read().decode().splitlines()
        except OSError:
            return 0.0
        rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return sum(float(value) for key, _, value in rows if key.partition("{")[0] == name)

    def await_ready(self) -> None:
        eventually(lambda: self.readiness()[0], f"ready: {self.log()}")

    def log(self) -> str:
        return self._log.read_text()[-4000:]


class Centre:
    """What the other side of the bus sees and says."""

    def __init__(self, settings: Settings, gateway_id: str) -> None:
        self._settings = settings
        self.gateway_id = gateway_id
        self._publisher = KafkaPublisher(
            settings.kafka, Origin("/hilum/test/centre"), SystemClock()
        )

    def close(self) -> None:
        self._publisher.close()

    def read(self, event_type: type[E]) -> list[E]:
        """Every event on its topic, in the order of each partition. A busy broker may be late."""
        topic = BY_EVENT[event_type].name
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return [
                    codec.decode(record.value or b"", event_type)
                    for record in read_all(self._settings.kafka, topic)
                ]
            except RetryableError:
                if time.monotonic() > deadline:
                    raise

    def received(self) -> list[InstanceReceived]:
        return self.read(InstanceReceived)

    def received_ids(self) -> set[str]:
        return {event.delivery_id for event in self.received()}

    def states(self, gateway_id: str = "") -> list[GatewayState]:
        wanted = gateway_id or self.gateway_id
        return [state for state in self.read(GatewayState) if state.gateway_id == wanted]

    def deliveries_in(self, state: str) -> int:
        """As the gateway's last state tells it."""
        states = self.states()
        if not states:
            return 0
        return sum(total.deliveries for total in states[-1].totals if total.state == state)

    def receipts(self) -> list[AssociationReceipt]:
        return self.read(AssociationReceipt)

    def payload(self, event: InstanceReceived) -> bytes:
        reader = KafkaPayloadReader(self._settings.kafka)
        try:
            return b"".join(reader.open(event))
        finally:
            reader.close()

    def say_custody(
        self, state: CustodyState, members: Sequence[tuple[str, str]], gateway_id: str = ""
    ) -> None:
        """(delivery_id, sha256) pairs that the archive speaks of."""
        custody = CustodyRecorded(
            gateway_id=gateway_id or self.gateway_id,
            state=state,
            at=datetime.now(UTC),
            object_key="packs/00/synthetic.tar",
            members=tuple(CustodyMember(*member) for member in members),
        )
        self._publish(custody, custody.gateway_id)

    def request(self, kind: RequestKind, delivery_ids: Sequence[str]) -> int:
        """The offset of the request."""
        request = GatewayRequest(
            self.gateway_id, kind, tuple(delivery_ids), "test", datetime.now(UTC)
        )
        return self._publish(request, self.gateway_id)

    def _publish(self, event: Event, key: str) -> int:
        pending = self._publisher.publish_event(event, key.encode(), DeliveryIds().mint())
        return pending.result(20).offset


def archived(events: Sequence[InstanceReceived]) -> list[tuple[str, str]]:
    """The custody members that say these events' content was archived."""
    return [(event.delivery_id, event.content.content_sha256) for event in events]
