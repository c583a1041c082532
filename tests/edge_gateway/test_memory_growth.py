"""How much memory large objects cost a gateway while they arrive: nothing that grows with them."""

from __future__ import annotations

import hashlib
import shutil
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from load.hostile.raw_peer import (
    AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    context,
    data_set,
    pdu,
    pdv,
    store_command,
)
from tests.edge_gateway.running_gateway import MIB
from tests.edge_gateway.test_receive_process import ReceiveProcess

# 02-gateway.md: what a process may grow by while 8 objects of 1 GB are in flight.
GROWTH_KIB_MAX = 16 * 1024
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
# About the longest PDUs that a gateway takes by default.
PIXELS_BYTES = 252 * 1024
GIB = 1024 * MIB
SLOW_S = 120.0


@dataclass(frozen=True)
class LargeObject:
    """A synthetic multi-frame object that is made while it is sent, a piece at a time."""

    number: int
    size_bytes: int

    @property
    def sop_instance_uid(self) -> str:
        return f"1.2.840.99.{self.number}"

    def pieces(self) -> Iterator[bytes]:
        """The data set: its identifying elements, then pixels."""
        header = data_set(self.sop_instance_uid.encode(), sop_class=ENHANCED_CT.encode())
        count = self.size_bytes // PIXELS_BYTES
        yield header + struct.pack("<HHI", 0x7FE0, 0x0010, count * PIXELS_BYTES)
        block = hashlib.sha512(self.sop_instance_uid.encode()).digest() * (PIXELS_BYTES // 64)
        for _ in range(count):
            yield block

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


class Sender(threading.Thread):
    """One association that sends one object; `status` is what it was answered."""

    def __init__(self, port: int, sent: LargeObject, all_are_open: threading.Barrier) -> None:
        super().__init__(name=f"sender-{sent.number}", daemon=True)
        self.sent = sent
        self.status: int | None = None
        self._port = port
        self._all_are_open = all_are_open

    def run(self) -> None:
        uid = self.sent.sop_instance_uid.encode()
        with RawPeer(self._port, SLOW_S) as peer:
            assert peer.associate(contexts=context(1, ENHANCED_CT))[0] == AC
            peer.send(pdu(P_DATA, pdv(1, 3, store_command(uid, ENHANCED_CT.encode()))))
            pieces = self.sent.pieces()
            peer.send(pdu(P_DATA, pdv(1, 0, next(pieces))))
            # All data sets are under way before one goes on.
            self._all_are_open.wait(SLOW_S)
            for piece in pieces:
                peer.send(pdu(P_DATA, pdv(1, 0, piece)))
            peer.send(pdu(P_DATA, pdv(1, 2, b"")))
            self.status = peer.read_status()
            peer.send(pdu(RELEASE_RQ, bytes(4)))
            assert peer.read_pdu()[0] == RELEASE_RP


def memory_kib(process: ReceiveProcess, name: str) -> int:
    assert process.process is not None
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {name}")


def growth_kib(process: ReceiveProcess, count: int, size_bytes: int) -> int:
    """The peak above what the process had with an association behind it, while `count` send."""
    with RawPeer(process.port, SLOW_S) as first:
        first.associate()
        assert first.store(store_command(), data_set(padding=2 * MIB)) == 0
    before_kib = memory_kib(process, "VmRSS")
    barrier = threading.Barrier(count)
    senders = [
        Sender(process.port, LargeObject(number, size_bytes), barrier)
        for number in range(1, count + 1)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert [sender.status for sender in senders] == [0] * count
    return memory_kib(process, "VmHWM") - before_kib


def arrived_whole(process: ReceiveProcess, count: int, size_bytes: int) -> bool:
    """Whether the spool's files are the objects that were sent, byte for byte."""
    kept = []
    for path in (process.spool / "objects").iterdir():
        with path.open("rb") as file:
            kept.append(hashlib.file_digest(file, "sha256").hexdigest())
    sent = [LargeObject(number, size_bytes).sha256() for number in range(1, count + 1)]
    return sorted(kept) == sorted(sent)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ReceiveProcess]:
    """With segments in which an object of the usual 4 MiB in memory has room."""
    running = ReceiveProcess(tmp_path, spool={"segment_bytes": 16 * MIB}).start()
    yield running
    running.end()
    # Gigabytes; pytest keeps the directories of its last runs.
    shutil.rmtree(running.spool)


def test_a_few_large_objects_at_once_cost_a_few_megabytes(process: ReceiveProcess) -> None:
    count, size_bytes = 4, 64 * MIB
    grown_kib = growth_kib(process, count, size_bytes)
    print(f"{count} x {size_bytes // MIB} MiB in flight: {grown_kib} KiB more at the peak")
    assert arrived_whole(process, count, size_bytes)
    assert grown_kib <= GROWTH_KIB_MAX


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_eight_gigabytes_at_once_cost_a_few_megabytes(
    process: ReceiveProcess, tmp_path: Path
) -> None:
    count, size_bytes = 8, GIB
    free_bytes = shutil.disk_usage(tmp_path).free
    assert free_bytes > 2 * count * size_bytes, f"{free_bytes} bytes free: 16 GiB are needed"
    grown_kib = growth_kib(process, count, size_bytes)
    print(f"{count} x 1 GiB in flight: {grown_kib} KiB more at the peak")
    assert arrived_whole(process, count, size_bytes)
    assert grown_kib <= GROWTH_KIB_MAX
