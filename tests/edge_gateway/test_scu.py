"""Our SCU side: every instance gets one result, whatever the peer does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom.data
import pytest
from pynetdicom import AE, evt
from pynetdicom import _config as pynetdicom_config

from edge_gateway.outgoing import FileProblem, OutgoingInstance, ProblemKind, read_outgoing
from edge_gateway.scu import Peer, ScuLimits, SendResult, StoreScu
from load.hostile.raw_peer import CT, data_set
from tests.edge_gateway.running_gateway import RunningGateway, running_gateway

pynetdicom_config.LOG_HANDLER_LEVEL = "none"
FILES = Path(pydicom.data.__file__).parent / "test_files"
QUICK = ScuLimits(retry_delay_s=0.01, connect_timeout_s=120, answer_timeout_s=120)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path / "spool") as running:
        yield running


def outgoing(path: Path) -> OutgoingInstance:
    instance = read_outgoing(path)
    assert isinstance(instance, OutgoingInstance), instance
    return instance


def bare(folder: Path, count: int) -> list[OutgoingInstance]:
    """Synthetic instances in files without preamble and group 2."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:04d}").write_bytes(data_set(f"1.2.3.4.{number}".encode(), 500))
    return [outgoing(path) for path in sorted(folder.iterdir())]


def test_another_implementation_takes_what_we_send() -> None:
    """pynetdicom's own acceptor, so that our two sides are not only right with each other."""
    received: list[bytes] = []

    def on_store(event: evt.Event) -> int:
        received.append(event.request.DataSet.getvalue())
        return 0xB007 if len(received) == 2 else 0

    ae = AE("ARCHIVE")
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        ae.add_supported_context(CT, syntax)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    try:
        files = [outgoing(FILES / "CT_small.dcm")] * 3 + [outgoing(FILES / "MR_small.dcm")]
        results: list[SendResult] = []
        peer = Peer("127.0.0.1", server.server_address[1], "ARCHIVE", "HILUM")
        summary = StoreScu(QUICK).send(files, peer, results.append)
    finally:
        server.shutdown()
    assert summary.statuses == {0: 2, 0xB007: 1} and summary.stored == 3
    assert summary.unanswered == 1 and "SOP class" in results[-1].problem
    expected = files[0].path.read_bytes()[files[0].offset_bytes :]
    assert received == [expected] * 3


def test_more_than_128_contexts_take_several_associations(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    instance = bare(tmp_path / "files", 1)[0]
    path = instance.path
    many = [
        OutgoingInstance(path, 0, instance.size_bytes, f"1.2.826.9.{n}", f"1.2.9.{n}", "1.2.3.4")
        for n in range(300)
    ]
    summary = StoreScu(QUICK).send(iter(many), gateway.peer())
    assert summary.is_complete and summary.associations == 3
    assert len(gateway.deliveries()) == 300


def test_a_window_bounds_what_is_planned_at_once(gateway: RunningGateway, tmp_path: Path) -> None:
    instances = bare(tmp_path / "files", 7)
    summary = StoreScu(ScuLimits(window_instances=3)).send(instances, gateway.peer())
    assert summary.is_complete and summary.associations == 3


class CuttingProxy:
    """Passes an association to a gateway and cuts it after so many bytes, the first times."""

    def __init__(self, target_port: int, cut_after_bytes: int, cuts: int) -> None:
        self._target_port = target_port
        self._cut_after_bytes = cut_after_bytes
        self._cuts = cuts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target_port))
            limit = self._cut_after_bytes if self._cuts > 0 else 1 << 40
            self._cuts -= 1
            threading.Thread(target=_pass, args=(server, client, 1 << 40), daemon=True).start()
            threading.Thread(target=_pass, args=(client, server, limit), daemon=True).start()


def _pass(source: socket.socket, target: socket.socket, limit: int) -> None:
    passed = 0
    try:
        while passed < limit and (data := source.recv(min(4096, limit - passed))):
            target.sendall(data)
            passed += len(data)
    except OSError:
        pass  # the other direction has closed them
    for end in (source, target):
        # Not close alone: the other direction's thread still waits in it.
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_what_got_no_answer_is_sent_again(gateway: RunningGateway, tmp_path: Path) -> None:
    instances = bare(tmp_path / "files", 20)
    proxy = CuttingProxy(gateway.port, cut_after_bytes=5_000, cuts=2)
    try:
        peer = Peer("127.0.0.1", proxy.port, "NORTH", "TESTER")
        summary = StoreScu(QUICK).send(instances, peer)
    finally:
        proxy.close()
    assert summary.is_complete and summary.stored == 20
    assert summary.associations == 3 and summary.resent == 2
    stored = {delivery.sop_instance_uid for delivery, _ in gateway.deliveries()}
    assert len(stored) == 20


def test_tries_are_bounded_and_the_rest_goes_on(gateway: RunningGateway, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(data_set(b"1.2.3.4.99", 100_000))
    large = outgoing(tmp_path / "large")
    small = bare(tmp_path / "files", 2)
    proxy = CuttingProxy(gateway.port, cut_after_bytes=20_000, cuts=1_000)
    try:
        results: list[SendResult] = []
        peer = Peer("127.0.0.1", proxy.port, "NORTH", "TESTER")
        summary = StoreScu(QUICK).send([small[0], large, small[1]], peer, results.append)
    finally:
        proxy.close()
    assert [result.status for result in results] == [0, None, 0]
    assert results[1].tries == 3 and summary.unanswered == 1


def test_nobody_there_gives_each_instance_its_reason(tmp_path: Path) -> None:
    instances = bare(tmp_path / "files", 3)
    results: list[SendResult] = []
    # Bound and not listening: nobody else can come to be there.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        peer = Peer("127.0.0.1", held.getsockname()[1], "NORTH", "TESTER")
        summary = StoreScu(QUICK).send(instances, peer, results.append)
    assert summary.unanswered == 3 and not summary.is_complete
    assert all("refused" in result.problem.lower() for result in results)


def test_a_reject_says_what_it_means(gateway: RunningGateway, tmp_path: Path) -> None:
    results: list[SendResult] = []
    peer = gateway.peer(called="SOUTH")
    StoreScu(QUICK).send(bare(tmp_path / "files", 1), peer, results.append)
    assert results[0].problem == "association rejected 1/1/7: called AE title not recognised"


def test_a_file_that_goes_away_or_shrinks_stops_no_other(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    gone, shrunk, good = bare(tmp_path / "files", 3)
    gone.path.unlink()
    shrunk.path.write_bytes(shrunk.path.read_bytes()[:200])
    results: list[SendResult] = []
    StoreScu(QUICK).send([gone, shrunk, good], gateway.peer(), results.append)
    assert [result.status for result in results] == [None, None, 0]
    assert len(gateway.deliveries()) == 1


def test_an_acceptor_that_talks_nonsense_is_survived(tmp_path: Path) -> None:
    answers = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">BBI", 2, 0, 4) + bytes(4),
        struct.pack(">BBI", 2, 0, 0xFFFFFFFF),
        struct.pack(">BBI", 7, 0, 4) + bytes(4),
        b"",
    ]
    instances = bare(tmp_path / "files", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for answer in answers:
            scripted = threading.Thread(target=_answer_once, args=(listening, answer))
            scripted.start()
            results: list[SendResult] = []
            peer = Peer("127.0.0.1", listening.getsockname()[1], "X", "Y")
            limits = ScuLimits(tries_max=1, connect_timeout_s=120, answer_timeout_s=120)
            StoreScu(limits).send(instances, peer, results.append)
            scripted.join()
            assert results[0].status is None and results[0].problem


def _answer_once(listening: socket.socket, answer: bytes) -> None:
    accepted, _ = listening.accept()
    with accepted:
        accepted.recv(1 << 16)
        accepted.sendall(answer)


@pytest.mark.parametrize(
    "content",
    [data_set(padding=500)[:-100], (FILES / "CT_small.dcm").read_bytes()[:3000]],
)
def test_a_cut_file_with_uids_is_sent_as_it_is_with_a_warning(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    instance = read_outgoing(path)
    assert isinstance(instance, OutgoingInstance) and instance.warning
    assert instance.offset_bytes + instance.size_bytes == len(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", ProblemKind.EMPTY),
        (b"just some text, longer than a header " * 10, ProblemKind.NOT_DICOM),
        (b"\x89PNG\r\n\x1a\n" + bytes(400), ProblemKind.NOT_DICOM),
        (bytes(128) + b"DICM", ProblemKind.TRUNCATED),
        (bytes(128) + b"DICM\x02\x00\x00\x00UL\x04", ProblemKind.TRUNCATED),
        (data_set()[:30], ProblemKind.TRUNCATED),
        ((FILES / "CT_small.dcm").read_bytes()[:200], ProblemKind.TRUNCATED),
        (bytes.fromhex("0800600002000000") + b"CT", ProblemKind.NO_UIDS),
        ((FILES / "dicomdirtests" / "DICOMDIR").read_bytes(), ProblemKind.NOT_STORABLE),
    ],
)
def test_each_file_that_cannot_be_sent_has_its_kind(
    tmp_path: Path, content: bytes, kind: ProblemKind
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    problem = read_outgoing(path)
    assert isinstance(problem, FileProblem) and problem.kind == kind, problem


def test_a_missing_file_is_a_problem_too(tmp_path: Path) -> None:
    problem = read_outgoing(tmp_path / "none")
    assert isinstance(problem, FileProblem) and problem.kind == ProblemKind.UNREADABLE


@pytest.mark.parametrize("cut", ["preamble", "preamble-and-prefix", "all-of-group-2"])
def test_files_without_their_head_are_the_same_data_set(tmp_path: Path, cut: str) -> None:
    whole = (FILES / "CT_small.dcm").read_bytes()
    instance = outgoing(FILES / "CT_small.dcm")
    start = {"preamble": 128, "preamble-and-prefix": 132}.get(cut, instance.offset_bytes)
    path = tmp_path / "file"
    path.write_bytes(whole[start:])
    headless = outgoing(path)
    assert headless.offset_bytes == instance.offset_bytes - start
    assert headless.sop_instance_uid == instance.sop_instance_uid
    assert headless.transfer_syntax_uid == "1.2.840.10008.1.2.1"
