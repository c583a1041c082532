"""The receive process as it runs in a hospital: killed, stopped, alone, and badly configured."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from contracts.failures import EXIT_FAILED, EXIT_FATAL
from edge_gateway.association import AssociationLimits
from edge_gateway.association.connection import ConnectionLost
from edge_gateway.scu import Peer
from edge_gateway.spool import AssociationClosed, Ending, SpooledDelivery
from infra.local_stack import local_stack_tree
from load.hostile.raw_peer import (
    ABORT,
    P_DATA,
    RawPeer,
    data_set,
    message,
    pdu,
    pdv,
    store_command,
)
from operations.ports import free_ports
from operations.stack_files import to_toml
from tests.edge_gateway.association.windowed_peer import answers, associate
from tests.edge_gateway.running_gateway import (
    MIB,
    echo,
    eventually,
    running_gateway,
    stored,
)

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
# Engines that do not exist: a gateway must not notice.
NOWHERE = 1


class ReceiveProcess:
    """`python -m edge_gateway receive` of gateway north, with nothing else in the world."""

    def __init__(self, directory: Path, **overrides: Any) -> None:
        tree = local_stack_tree(directory, 0)
        gateway = tree["gateways"]["north"]
        self.port, self._http_port = free_ports(2)
        spool = {"directory": str(directory / "spool"), "segment_bytes": 4 * MIB}
        spool |= {"free_bytes_min": 0} | overrides.pop("spool", {})
        gateway |= {"dicom_port": self.port, "http_port": self._http_port} | overrides
        gateway["spool"] = spool
        tree["gateways"] = {"north": gateway}
        tree["kafka"]["bootstrap_servers"] = f"127.0.0.1:{NOWHERE}"
        self.settings = directory / "settings.toml"
        self.settings.write_text(to_toml(tree))
        self.spool = directory / "spool"
        self.log = directory / "receive.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ReceiveProcess:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "edge_gateway", "receive"]
            command += ["--settings", str(self.settings), "--gateway", "north"]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        eventually(self.is_ready, START_TIMEOUT_S)
        return self

    def run_to_end(self, log: IO[bytes]) -> int:
        """For one that must not start: its exit code."""
        command = [sys.executable, "-m", "edge_gateway", "receive"]
        command += ["--settings", str(self.settings), "--gateway", "north"]
        done = subprocess.run(command, cwd=ROOT, stderr=log, timeout=START_TIMEOUT_S, check=False)
        return done.returncode

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        return bool(json.loads(self.get("readyz") or "{}").get("ready"))

    def get(self, path: str) -> str | None:
        try:
            address = f"http://127.0.0.1:{self._http_port}/{path}"
            with urllib.request.urlopen(address, timeout=START_TIMEOUT_S) as got:
                body: bytes = got.read()
                return body.decode()
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return None

    def signal(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[ReceiveProcess]:
    process = ReceiveProcess(tmp_path)
    yield process
    process.end()


def send_until_lost(port: int, sender: int, acknowledged: dict[str, str]) -> None:
    """Stores one after the other and notes the hash of what was answered 0000."""
    with RawPeer(port, START_TIMEOUT_S) as peer:
        peer.associate(calling=f"S{sender}".encode())
        for number in range(100_000):
            instance = f"1.2.{sender}.{number}"
            data = data_set(instance.encode(), padding=2000 + 50_000 * (number % 7 == 0))
            try:
                status = peer.store(store_command(instance.encode()), data)
            except OSError:
                return
            assert status == 0
            acknowledged[instance] = hashlib.sha256(data).hexdigest()


def are_under_way(acknowledged: dict[str, str], senders: set[int], target: int) -> bool:
    """Whether so many are stored, of each of the senders some."""
    known = list(acknowledged)
    return len(known) >= target and senders <= {int(uid.split(".")[2]) for uid in known}


def send_windowed_until_lost(port: int, sender: int, acknowledged: dict[str, str]) -> None:
    """The same with up to eight operations open: what a kill finds open was never promised."""
    open_operations: dict[int, tuple[str, str]] = {}
    with RawPeer(port) as peer:
        associate(peer, 8, calling=f"S{sender}".encode())
        for number in range(1, 60_000):
            instance = f"1.2.{sender}.{number}"
            data = data_set(instance.encode(), padding=2000 + 50_000 * (number % 7 == 0))
            try:
                if len(open_operations) == 8:
                    ((message_id, status),) = answers(peer, 1)
                    assert status == 0
                    acknowledged.update([open_operations.pop(message_id)])
                peer.send(message(store_command(instance.encode(), message_id=number), data))
            except OSError:
                return
            open_operations[number] = (instance, hashlib.sha256(data).hexdigest())


SENDERS = (send_until_lost, send_until_lost, send_windowed_until_lost)


def test_what_was_acknowledged_before_a_kill_is_recovered(receive: ReceiveProcess) -> None:
    acknowledged: dict[str, str] = {}
    for round_number in range(4):
        receive.start()
        target = len(acknowledged) + 60 * (round_number + 1)
        numbers = {10 * round_number + i + 1 for i in range(3)}
        senders = [
            threading.Thread(target=send, args=(receive.port, number, acknowledged))
            for number, send in zip(sorted(numbers), SENDERS, strict=True)
        ]
        for sender in senders:
            sender.start()
        eventually(partial(are_under_way, acknowledged, numbers, target), START_TIMEOUT_S)
        receive.signal(signal.SIGKILL)
        for sender in senders:
            sender.join()
    receive.start()
    assert receive.signal(signal.SIGTERM) == 0
    found = {
        (entry.sop_instance_uid, hashlib.sha256(body).hexdigest())
        for entry, body in stored(receive.spool)
        if isinstance(entry, SpooledDelivery)
    }
    lost = set(acknowledged.items()) - found
    print(f"{len(acknowledged)} acknowledged over 4 kills, {len(found)} durable")
    assert not lost
    endings = [
        entry.ending for entry, _ in stored(receive.spool) if isinstance(entry, AssociationClosed)
    ]
    assert endings.count(Ending.GATEWAY_LOST) == 12


def test_it_starts_and_answers_with_everything_else_down(receive: ReceiveProcess) -> None:
    receive.start()
    assert echo(Peer("127.0.0.1", receive.port, "NORTH", "TESTER")) == 0
    readiness = json.loads(receive.get("readyz") or "")
    assert readiness["ready"] and "plain text on loopback" in readiness["reason"]
    with RawPeer(receive.port) as peer:
        peer.associate()
        assert peer.store(store_command(), data_set()) == 0
    metrics = receive.get("metrics") or ""
    assert 'hilum_store_response_total{status="0000"} 1.0' in metrics
    # Of this moment, not of some seconds ago: the store above was acknowledged by a flush.
    flushes = [
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("hilum_spool_flush_total ")
    ]
    assert flushes and flushes[0] >= 1
    assert receive.get("livez") == '{"live":true}'
    assert "1.2.3.4.5" not in receive.log.read_text()


def test_a_stop_lets_the_running_store_finish(receive: ReceiveProcess) -> None:
    receive.start()
    body = data_set(padding=300_000)
    with RawPeer(receive.port) as busy, RawPeer(receive.port) as idle:
        busy.associate()
        idle.associate()
        busy.send(pdu(P_DATA, pdv(1, 3, store_command())) + pdu(P_DATA, pdv(1, 0, body[:1000])))
        eventually(lambda: "hilum_association_active 2.0" in (receive.get("metrics") or ""))
        stopped: list[int] = []
        stopping = threading.Thread(target=lambda: stopped.append(receive.signal(signal.SIGTERM)))
        stopping.start()
        assert idle.read_pdu()[0] == ABORT
        with pytest.raises(ConnectionLost):
            echo(Peer("127.0.0.1", receive.port, "NORTH", "TESTER"))
        for start in range(1000, len(body), 100_000):
            is_last = start + 100_000 >= len(body)
            busy.send(pdu(P_DATA, pdv(1, 2 * is_last, body[start : start + 100_000])))
        assert busy.read_status() == 0
        assert busy.read_pdu()[0] == ABORT
        stopping.join()
    assert stopped == [0]
    assert [
        data for entry, data in stored(receive.spool) if isinstance(entry, SpooledDelivery)
    ] == [body]


def test_a_stop_does_not_wait_for_a_stalled_sender(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Who did would wait for an hour: the sender says nothing more and does not go."""
    limits = AssociationLimits(drain_timeout_s=0.5, pdu_timeout_s=3600.0)
    with running_gateway(tmp_path, limits) as gateway, RawPeer(gateway.port) as stalled:
        stalled.associate()
        stalled.send(pdu(P_DATA, pdv(1, 3, store_command())) + pdu(P_DATA, pdv(1, 0, b"\x08")))
        eventually(lambda: gateway.spool.statistics().memory_bytes == 1)
        began_s = time.monotonic()
        gateway.receiver.stop()
        took_s = time.monotonic() - began_s
        record_property("figure", f"{took_s:.1f} s, drain time-out {limits.drain_timeout_s} s")
        # The order of magnitude that the limit sets, on a machine that does other things as well.
        assert took_s < STOP_TIMEOUT_S
        assert stalled.read_pdu() == (0, b"")
        eventually(lambda: not gateway.receiver.associations)
        assert not gateway.deliveries()


def ended_at_start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_gateway", "receive", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_second_process_on_the_same_spool_or_port_fails_with_its_reason(
    receive: ReceiveProcess,
) -> None:
    receive.start()
    arguments = ("--settings", str(receive.settings), "--gateway", "north")
    done = ended_at_start(*arguments)
    assert done.returncode == EXIT_FAILED
    assert "spool" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--settings", "nowhere.toml", "--gateway", "north"), "name an existing file"),
        (("--gateway", "west"), "there is: north"),
        (("--gateway", "north"), "allow_plain_text_beyond_loopback"),
    ],
)
def test_a_bad_configuration_exits_78_with_the_next_step(
    tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    process = ReceiveProcess(tmp_path, bind="0.0.0.0")
    if "--settings" not in arguments:
        arguments += ("--settings", str(process.settings))
    done = ended_at_start(*arguments)
    assert done.returncode == EXIT_FATAL
    assert text in done.stderr and "Traceback" not in done.stderr
