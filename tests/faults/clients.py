"""Modalities of a run: they send, and write down what they were told and nothing else.

Invariant: an instance is in the history as sent before its first byte leaves; an answer that did
not come is `unknown`, never guessed. pynetdicom speaks, so that no code of ours is its own witness.
"""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import dataclass

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

from tests.faults.history import FAILED, OK, SENT, UNKNOWN, History

ANSWER_TIMEOUT_S = 60.0
AGAIN_AFTER_S = 0.2
ATTEMPTS_MAX = 200
STUDY_INSTANCES = 8
PIXEL_BYTES = (500, 30_000)
# Nobody else's: 2.25 with a number that no UUID has.
UID_ROOT = "2.25.990"


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway's port."""

    port: int
    ae_title: str


class Client:
    """One modality on a thread of its own; sends `count` instances, each until it is answered.

    `pace_s` is the pause between instances: a run lasts about as long as its faults do.
    """

    def __init__(
        self, name: str, seed: int, target: Target, history: History, pace_s: float = 0.0
    ) -> None:
        self._name = name
        self._random = random.Random(seed)
        self._study = f"{UID_ROOT}.{self._random.randrange(10**12)}"
        self._target = target
        self._history = history
        self._pace_s = pace_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: None)
        self.acknowledged = 0

    def start(self, count: int) -> None:
        """Begins to send."""
        self._thread = threading.Thread(target=self._send, args=(count,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No instance more; `join` waits for the one in hand."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Returns once it has sent all, or was stopped. Fails when that takes too long."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"{self._name} still sends after {timeout_s:.0f} s"

    def _send(self, count: int) -> None:
        association: Association | None = None
        for number in range(count):
            data_set = self._instance(number)
            for _ in range(ATTEMPTS_MAX):
                if association is None or not association.is_established:
                    association = self._associate()
                if self._is_stored(association, data_set) or self._stop.wait(AGAIN_AFTER_S):
                    break
            if self._stop.wait(self._pace_s):
                break
        if association is not None and association.is_established:
            association.release()

    def _associate(self) -> Association | None:
        entity = AE(ae_title=self._name[:16])
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = ANSWER_TIMEOUT_S
        entity.connection_timeout = ANSWER_TIMEOUT_S
        found = entity.associate("127.0.0.1", self._target.port, ae_title=self._target.ae_title)
        return found if found.is_established else None

    def _is_stored(self, association: Association | None, data_set: Dataset) -> bool:
        if association is None:
            return False
        encoded = encode(data_set, False, True)
        assert encoded is not None
        instance = {
            "sop_instance_uid": str(data_set.SOPInstanceUID),
            "study": str(data_set.StudyInstanceUID),
            "sha256": hashlib.sha256(encoded).hexdigest(),
        }
        self._history.store(SENT, self._name, instance)
        try:
            status = association.send_c_store(data_set).get("Status")
        except (RuntimeError, ValueError, OSError):
            status = None
        if status is None:
            self._history.store(UNKNOWN, self._name, instance)
        else:
            self._history.store(OK if status == 0 else FAILED, self._name, instance, status)
        is_stored = bool(status == 0)
        self.acknowledged += is_stored
        return is_stored

    def _instance(self, number: int) -> Dataset:
        study = f"{self._study}.{number // STUDY_INSTANCES}"
        found = Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.SOPClassUID = CTImageStorage
        found.SOPInstanceUID = f"{study}.1.{number}"
        found.StudyInstanceUID, found.SeriesInstanceUID = study, f"{study}.1"
        found.Modality, found.PatientID = "CT", f"SYN{number}"
        found.PatientName = "Synthetic^Laboratory"
        pixels = self._random.randbytes(self._random.randrange(*PIXEL_BYTES) // 2 * 2)
        found.add_new(0x7FE00010, "OW", pixels)
        return found
