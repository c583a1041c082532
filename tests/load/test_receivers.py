"""Each receiver that is installed: started, sent to, cleared, looked at, and wholly gone."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from contracts.failures import FatalError
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import Peer, StoreScu
from load.progress import Progress
from load.receivers import RECEIVERS, RunningReceiver, limits
from load.receivers.hilum import RunningHilum, run_hilum
from load.receivers.peers import NOT_INSTALLED, PROGRAMS, PeersOptions, run_peers
from load.receivers.process import OwnProcess, own_process
from load.receivers.slowed import DELAY_MS, run_slowed
from load.senders import Target
from operations import peers
from operations.synthetic import CtStudy
from tests.polling import eventually

IN_CI = os.environ.get("CI", "") == "true"
SLICES = 3
DEADLINE_S = 120.0
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> list[OutgoingInstance]:
    paths = CtStudy(SLICES, rows=64, seed=7).write(tmp_path_factory.mktemp("study"))
    found = [read_outgoing(path) for path in paths]
    return [one for one in found if isinstance(one, OutgoingInstance)]


def send(instances: list[OutgoingInstance], target: Target) -> int:
    """How many were answered 0000, each in one try."""
    peer = Peer(target.host, target.port, target.called_ae_title, target.calling_ae_title)
    return StoreScu().send(instances, peer).statuses[0]


def listens(target: Target) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((target.host, target.port)) == 0


def is_running(process_id: int) -> bool:
    try:
        return bool(psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> str:
    """What it was started as; nothing once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("key", RECEIVERS)
def test_a_receiver_takes_is_cleared_and_leaves_nothing(
    key: str, tmp_path: Path, instances: list[OutgoingInstance]
) -> None:
    receiver = RECEIVERS[key]
    if receiver.version() is None:
        assert not IN_CI, f"{receiver.title} is not installed"
        pytest.skip(f"{receiver.title} is not installed: apt-get install {receiver.package}")
    with receiver.running(tmp_path / key) as running:
        first = running.process_ids()
        assert first and running.cpu_s() >= 0
        assert send(instances, running.target) == SLICES
        running.clear()
        # The same instances again: a receiver that remembered them would measure something else.
        assert send(instances, running.target) == SLICES
        process_ids = {*first, *running.process_ids()}
        assert running.flushes() is None or isinstance(running, RunningHilum)
    assert not listens(running.target)
    assert not [one for one in process_ids if is_running(one)]
    assert running.process_ids() == ()
    # Settings and logs may stay; what was received may not.
    assert sum(path.stat().st_size for path in (tmp_path / key).rglob("*")) < MIB


def test_an_exception_in_the_block_ends_the_receiver_too(tmp_path: Path) -> None:
    seen: list[RunningReceiver] = []
    with (
        pytest.raises(ZeroDivisionError),
        RECEIVERS["pynetdicom"].running(tmp_path) as running,
    ):
        seen.append(running)
        raise ZeroDivisionError
    assert seen[0].process_ids() == () and not listens(seen[0].target)


def test_our_gateway_counts_its_flushes_and_recycles_its_segments(
    tmp_path: Path, instances: list[OutgoingInstance]
) -> None:
    # The default segment takes 256 MiB of objects; a small one shows the same in a second.
    with run_hilum(tmp_path, {"segment_bytes": MIB}) as running:
        before = running.flushes()
        for _ in range(40):
            assert send(instances, running.target) == SLICES
        after = running.flushes()
        assert before is not None and after is not None and after >= before + 40 * SLICES
        sealed = sorted((tmp_path / "spool" / "segments").iterdir())
        assert len(sealed) > 2
        running.clear()
        assert len(list((tmp_path / "spool" / "segments").iterdir())) <= 2
        assert list((tmp_path / "spool" / "free").iterdir())
        running.clear()  # nothing new: harmless
        assert send(instances, running.target) == SLICES


def test_the_slowed_receiver_answers_later_by_its_delay(
    tmp_path: Path, instances: list[OutgoingInstance]
) -> None:
    answers: list[float] = []
    with run_slowed(tmp_path, DELAY_MS, {"segment_bytes": MIB}) as running:
        target = running.target
        peer = Peer(target.host, target.port, target.called_ae_title, target.calling_ae_title)
        StoreScu().send(instances, peer, lambda result: answers.append(result.elapsed_ms))
    # Not a rate: the sleep is in the answer, whatever else the machine does.
    assert len(answers) == SLICES and min(answers) >= DELAY_MS


def test_children_that_have_ended_still_count(tmp_path: Path) -> None:
    work = "sum(i * i for i in range(3_000_000))"
    program = (
        "import subprocess, sys, time\n"
        f"subprocess.run([sys.executable, '-c', {work!r}])\n"
        f"unwaited = subprocess.Popen([sys.executable, '-c', {work!r}])\n"
        "print('working', flush=True)\n"
        "time.sleep(600)\n"
    )
    with own_process("parent", [sys.executable, "-c", program], tmp_path) as process:
        process.wait_until(lambda: "working" in process.log.read_text(), "no word")
        waited_for = process.cpu_s()
        assert waited_for > 0.05
        # The second child becomes a zombie, which nobody has waited for.
        eventually(lambda: len(process.process_ids()) == 1, "the second child has ended")
        assert process.cpu_s() > waited_for
    assert process.process_ids() == ()


def test_a_program_that_ignores_sigterm_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("load.receivers.process.END_WITHIN_S", 0.3)
    program = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork()\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = OwnProcess("deaf", [sys.executable, "-c", program], tmp_path)
    process.wait_until(lambda: process.log.read_text().count("deaf") == 2, "no word")
    process_ids = process.process_ids()
    assert len(process_ids) == 2
    process.end()
    assert not [one for one in process_ids if is_running(one)]


def test_one_that_does_not_come_up_tells_its_last_log_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("load.receivers.process.READY_WITHIN_S", 0.3)
    program = "import sys, time; print('no such index', flush=True); time.sleep({})"
    for seconds, text in ((600, "not within"), (0, "exit code 0")):
        command = [sys.executable, "-c", program.format(seconds)]
        with (
            pytest.raises(FatalError, match=f"(?s){text}.*no such index"),
            own_process(f"late-{seconds}", command, tmp_path) as process,
        ):
            started = process
            eventually(lambda: "index" in started.log.read_text(), "its words")  # noqa: B023
            if not seconds:
                eventually(lambda: not started.is_alive, "its end")  # noqa: B023
            process.wait_until(lambda: False, "no answer")
        assert process.process_ids() == ()


def test_a_missing_peer_is_named_and_never_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(peers, "_MORE_DIRECTORIES", ())
    for key in ("storescp", "orthanc", "orthanc-noflush"):
        assert RECEIVERS[key].version() is None
        with (
            pytest.raises(FatalError, match="not installed"),
            RECEIVERS[key].running(tmp_path / key),
        ):
            pass
    with Progress() as progress:
        report = run_peers(PeersOptions(), progress)
        refused = run_peers(PeersOptions(installs=True), progress)
    receivers, programs = report.sections[0].tables
    assert report.ok and "apt-get install dcmtk dicom3tools orthanc" in report.sections[0].text
    assert {row[0] for row in receivers.rows if row[2] == NOT_INSTALLED} == {
        "storescp",
        "orthanc",
        "orthanc-noflush",
    }
    assert {row[0] for row in programs.rows} == set(PROGRAMS)
    assert all(row[1] == NOT_INSTALLED for row in programs.rows)
    # Without apt-get on the path nothing can be installed: counted, and the exit code says so.
    assert not refused.ok and refused.failures[0].count == 3


def test_limits_are_positive_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A region of a real segment is filled for half a second; a small one is written over more.
    monkeypatch.setattr(limits, "REGION_BYTES", MIB)
    # Long enough that each comes to its first flush on a busy machine.
    measured = {
        "one writer": limits.own_write_pattern(tmp_path, 9000, 0.5, 1),
        "four writers": limits.own_write_pattern(tmp_path, 9000, 0.5, 4),
        "flushes": limits.fdatasync_rate(tmp_path, 0.5),
        "disk": limits.disk_write_rate(tmp_path, 0.5),
        "loopback": limits.loopback_copy_rate(0.5),
    }
    print(measured)
    assert all(rate > 0 for rate in measured.values())
    assert not list(tmp_path.iterdir())
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "loopback_source" in command_of(child)]


@pytest.mark.parametrize(("seconds", "threads"), [(0, 1), (61, 1), (1, 0), (1, 257)])
def test_a_limit_out_of_bounds_is_refused(tmp_path: Path, seconds: float, threads: int) -> None:
    with pytest.raises(FatalError, match="out of bounds"):
        limits.own_write_pattern(tmp_path, 1, seconds, threads)


def test_a_write_that_fails_is_told_to_every_writer() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        region = limits.Region(descriptor, MIB)
        writers = [threading.Thread(target=region.append, args=(b"record",)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(DEADLINE_S)
        assert not any(writer.is_alive() for writer in writers)
        assert region.failure is not None and region.failure.errno == errno.ENOSPC
    finally:
        os.close(descriptor)
