"""Synthetic SOP Instances and the history of what became of them, as their sender knows it.

Invariant: the bytes follow from ids and length alone; the history is written by the simulation at
the moment of the answer and never from what the product says. No patient data.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from datetime import datetime

from edge_gateway.spool import DeliveryFacts

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True, slots=True)
class Instance:
    """One C-STORE on its way: what is sent."""

    delivery_id: str
    association_id: str
    study: int
    number: int
    size_bytes: int
    quarantine_reason: str | None = None
    # What the pixels repeat; where there is none, bytes of the instance's own.
    filler: bytes = b""

    @property
    def study_instance_uid(self) -> str:
        return f"{ROOT}.1.{self.study}"

    @property
    def sop_instance_uid(self) -> str:
        return f"{ROOT}.2.{self.number}"

    def data_set(self) -> bytes:
        """A data set of about `size_bytes`, explicit VR little endian (PS3.5 7.1); 0 for none."""
        if self.size_bytes == 0:
            return b""
        head = b"".join(
            (
                _uid(0x0008, 0x0016, SOP_CLASS_UID),
                _uid(0x0008, 0x0018, self.sop_instance_uid),
                _uid(0x0020, 0x000D, self.study_instance_uid),
                _uid(0x0020, 0x000E, f"{self.study_instance_uid}.1"),
            )
        )
        block = self.filler or hashlib.sha512(self.delivery_id.encode()).digest()
        length = max(2, self.size_bytes - len(head)) & ~1
        pixels = (block * (length // len(block) + 1))[:length]
        return head + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", length) + pixels

    def facts(self, received_at: datetime) -> DeliveryFacts:
        return DeliveryFacts(
            delivery_id=self.delivery_id,
            association_id=self.association_id,
            calling_ae_title="MODALITY",
            called_ae_title="NORTH",
            peer_address="127.0.0.1",
            peer_implementation_class_uid=f"{ROOT}.3",
            peer_implementation_version_name="SYNTHETIC",
            received_at=received_at,
            sop_class_uid=SOP_CLASS_UID,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=EXPLICIT_LITTLE,
        )


def _uid(group: int, element: int, text: str) -> bytes:
    value = text.encode() + b"\0" * (len(text) % 2)
    return struct.pack("<HH2sH", group, element, b"UI", len(value)) + value


@dataclass
class Sent:
    """What the sender knows of one instance. `acknowledged`: it was answered 0x0000."""

    instance: Instance
    content_sha256: str
    acknowledged: bool = False


@dataclass
class History:
    """All that was ever sent, in order."""

    sent: dict[str, Sent] = field(default_factory=dict)
    refused: int = 0

    def begin(self, instance: Instance, data: bytes) -> Sent:
        sent = Sent(instance, hashlib.sha256(data).hexdigest())
        self.sent[instance.delivery_id] = sent
        return sent

    def acknowledged(self) -> list[Sent]:
        return [sent for sent in self.sent.values() if sent.acknowledged]
