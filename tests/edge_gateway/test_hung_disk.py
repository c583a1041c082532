"""A gateway whose disk hangs: every peer is told by the deadline, and nothing is acknowledged."""

from __future__ import annotations

import threading
from pathlib import Path

from edge_gateway.receive import Receiver
from edge_gateway.spool import Spool, SpooledDelivery, SpoolLimits
from load.hostile.raw_peer import RawPeer, data_set, store_command
from tests.edge_gateway.running_gateway import DEADLINE_S, MIB, eventually, gateway_settings, stored
from tests.edge_gateway.spool.seams import HangingFileSystem

LIMITS = SpoolLimits(segment_bytes=4 * MIB, free_bytes_min=0, commit_wait_ms=1000)
OUT_OF_RESOURCES = 0xA700


def answer(port: int, instance: bytes) -> int | None:
    """The status of one C-STORE; None when the association ended instead."""
    with RawPeer(port) as peer:
        peer.associate()
        try:
            return peer.store(store_command(instance), data_set(instance))
        except OSError:
            return None


def test_a_hung_disk_lets_every_peer_go_by_the_deadline(tmp_path: Path) -> None:
    fs = HangingFileSystem()
    settings = gateway_settings(tmp_path)
    answers: dict[bytes, int | None] = {}
    with Spool.open(tmp_path, settings.site, LIMITS, fs=fs) as spool:
        receiver = Receiver(settings, spool)
        receiver.start()
        port = receiver.addresses.dicom_port

        def send(instance: bytes) -> threading.Thread:
            thread = threading.Thread(
                target=lambda: answers.__setitem__(instance, answer(port, instance))
            )
            thread.start()
            return thread

        with fs.hang():
            senders = [send(b"1.2.1")]
            eventually(lambda: fs.hanging > 0)
            senders += [send(b"1.2.2"), send(b"1.2.3")]
            for sender in senders:
                sender.join(DEADLINE_S)
            # All have ended while the disk still hangs, and none was told 0000.
            assert len(answers) == 3
            assert 0 not in answers.values()
            assert OUT_OF_RESOURCES in answers.values()
        # A flush on a busy machine may take longer than this gateway waits; then it comes again.
        eventually(lambda: answer(port, b"1.2.4") == 0)
        receiver.stop()
    kept = [entry for entry, _ in stored(tmp_path) if isinstance(entry, SpooledDelivery)]
    assert "1.2.4" in {delivery.sop_instance_uid for delivery in kept}
