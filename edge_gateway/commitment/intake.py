"""An N-ACTION from its command set to its answer: bounded, judged, on disk (PS3.7 10.1.4).

Invariant: success is decided only after the ledger has flushed the request; bytes over a limit are
dropped and never gathered. Must not look for the instances: that is the forward process's work.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from edge_gateway import status
from edge_gateway.commitment.ledger import CommitmentLedger, LedgerFull
from edge_gateway.commitment.request import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    InvalidRequest,
    decode_request,
)
from edge_gateway.status import Status
from edge_gateway.store_request import Answer
from infra.clock import Clock
from infra.settings_commitment import MIB, CommitmentSettings
from infra.telemetry import Metrics, logger

# Over all associations: what data sets of requests may take in memory while they arrive.
MEMORY_BYTES_MAX = 32 * MIB
_LOG = logger("commitment")


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """The N-ACTION-RQ's command set and the transfer syntax of its context (PS3.7 10.1.4.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    action_type: int | None
    transfer_syntax_uid: str


class ActionDesk:
    """Takes the requests of all associations; safe from any thread."""

    def __init__(
        self, directory: Path, settings: CommitmentSettings, metrics: Metrics, clock: Clock
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.metrics = metrics
        self.clock = clock
        self._lock = threading.Lock()
        self._memory_bytes = 0

    def serves(self, calling_ae_title: str) -> bool:
        """Whether this peer may ask; where it may not, its context is refused."""
        return self.settings.peer(calling_ae_title) is not None

    def begin(self, calling_ae_title: str, request: ActionRequest) -> ActionIntake:
        """Starts to take one request of a peer that may ask."""
        return ActionIntake(self, calling_ae_title, request)

    def reserve(self, size_bytes: int) -> bool:
        """Room for so many bytes more; False where there is none."""
        with self._lock:
            if self._memory_bytes + size_bytes > MEMORY_BYTES_MAX:
                return False
            self._memory_bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        """Gives reserved room back."""
        with self._lock:
            self._memory_bytes -= size_bytes


class ActionIntake:
    """One N-ACTION on its way in: `write` each fragment, then `finish` or `abort`."""

    def __init__(self, desk: ActionDesk, calling_ae_title: str, request: ActionRequest) -> None:
        self._desk = desk
        self._calling_ae_title = calling_ae_title
        self._request = request
        self._data_set = bytearray()
        self._refusal = _judge_command(request)

    def write(self, fragment: memoryview) -> None:
        """Takes a fragment; after a refusal it is dropped, since an answer needs the last one."""
        if self._refusal is not None:
            return
        desk, size_bytes = self._desk, len(self._data_set) + len(fragment)
        if size_bytes > desk.settings.request_bytes_max or not desk.reserve(len(fragment)):
            self._refuse(status.RESOURCE_LIMITATION)
        else:
            self._data_set += fragment

    def finish(self) -> Answer:
        """The answer to the last fragment; with success the request is durable."""
        answer = self._refusal or self._take()
        self.abort()
        self._desk.metrics.count("hilum_commitment_response_total", status=f"{answer.value:04X}")
        return Answer(answer.value, answer.code)

    def abort(self) -> None:
        """Leaves nothing of this request in memory."""
        self._desk.release(len(self._data_set))
        self._data_set = bytearray()

    def _refuse(self, refusal: Status) -> None:
        self.abort()
        self._refusal = refusal

    def _take(self) -> Status:
        desk = self._desk
        try:
            request = decode_request(
                bytes(self._data_set),
                self._request.transfer_syntax_uid,
                desk.settings.references_max,
            )
            ledger = CommitmentLedger(desk.directory)
            try:
                ledger.put(
                    self._calling_ae_title,
                    request,
                    desk.clock.now(),
                    desk.settings.open_requests_max,
                )
            finally:
                ledger.close()
        except InvalidRequest as refusal:
            return refusal.status
        except LedgerFull:
            _LOG.warning("commitment request refused", reason="open_requests_max reached")
            return status.RESOURCE_LIMITATION
        except (OSError, sqlite3.Error) as cause:
            _LOG.error("commitment request refused", reason=f"the disk refuses: {cause}")
            return status.PROCESSING_FAILURE
        _LOG.info(
            "commitment requested",
            ae_title=self._calling_ae_title,
            transaction_uid=request.transaction_uid,
            references=len(request.references),
        )
        return status.SUCCESS


def _judge_command(request: ActionRequest) -> Status | None:
    """What already the command set is refused for; None for nothing (PS3.7 10.1.4.1.10)."""
    if request.sop_class_uid != PUSH_MODEL:
        return status.NO_SUCH_CLASS
    if request.sop_instance_uid != PUSH_MODEL_INSTANCE:
        return status.NO_SUCH_INSTANCE
    if request.action_type != REQUEST_ACTION:
        return status.NO_SUCH_ACTION
    return None
