"""Fills a gateway's spool as its receiver does, with synthetic data sets.

Invariant: what was stored is remembered by delivery_id and in its order: the truth of a test.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from contracts.identity import DeliveryIds
from edge_gateway.spool import (
    AssociationOpened,
    DeliveryFacts,
    Ending,
    Receipt,
    Spool,
    SpooledDelivery,
    SpoolLimits,
)
from infra.settings import Settings

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


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
