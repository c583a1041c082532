"""A watched folder: what is complete is sent and put away, and nothing is lost on a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread

from contracts.failures import FatalError
from edge_gateway.scu import Peer
from operations.inbox import Inbox, InboxEvent, InboxOptions
from operations.inbox_files import InboxFiles, locked
from operations.ports import free_ports
from operations.synthetic import CtStudy
from tests.edge_gateway.running_gateway import (
    AE_TITLE,
    RunningGateway,
    eventually,
    running_gateway,
)
from tests.load.scripted_peer import Script, scripted_peer

# A process of its own on a busy machine.
START_DEADLINE_S = 150.0
ROOT = Path(__file__).resolve().parent.parent.parent


def study(folder: Path, slices: int = 1, seed: int = 1) -> list[Path]:
    return CtStudy(slices, rows=16, seed=seed).write(folder)


def once(
    folder: Path, peer: Peer, settle_s: float = 0.05, **more: bool
) -> tuple[bool, list[InboxEvent]]:
    events: list[InboxEvent] = []
    options = InboxOptions(folder, settle_s=settle_s, is_once=True, look_every_s=0.05, **more)
    return Inbox(options, peer, events.append).watch(), events


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def process(folder: Path, port: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "operations", "inbox", str(folder), "--settle", "0.05"]
    command += ["--to", f"{AE_TITLE}@127.0.0.1:{port}", "--json", *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_is_stored_is_put_away_and_what_is_not_dicom_is_set_apart(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    study(inbox / "ct", 2)
    (inbox / "notes.txt").write_text("not DICOM")
    with running_gateway(tmp_path / "spool") as gateway:
        is_good, events = once(inbox, gateway.peer())
        assert len(gateway.deliveries()) == 2
        again, _ = once(inbox, gateway.peer())
    assert not is_good and again
    assert names(inbox / ".sent" / "ct") == ["00000.dcm", "00001.dcm"]
    reason = json.loads((inbox / ".failed" / "notes.txt.reason.json").read_text())
    assert reason["file"] == "notes.txt" and reason["reason"].startswith("not_dicom")
    assert (inbox / ".failed" / "notes.txt").read_text() == "not DICOM"
    assert events[-1].counts == {"sent": 2, "failed": 1, "left": 0, "not complete": 0}


def test_delete_deletes_and_a_program_goes_to_the_quarantine(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    first, second = study(inbox, 2)
    second.write_bytes(b"MZ".ljust(128, b"\0") + second.read_bytes()[128:])
    with running_gateway(tmp_path / "spool") as gateway:
        is_good, _ = once(inbox, gateway.peer(), deletes=True)
        assert len(gateway.deliveries()) == 2
    assert is_good and not first.exists()
    kept = [".lock", f".quarantine/{second.name}", f".quarantine/{second.name}.reason.json"]
    assert names(inbox) == kept


@pytest.mark.parametrize("script", [None, Script(statuses=(0xA700,)), Script(reject=(1, 1, 7))])
def test_what_may_be_taken_later_stays(tmp_path: Path, script: Script | None) -> None:
    inbox = tmp_path / "in"
    study(inbox, 2)
    if script is None:
        is_good, events = once(inbox, Peer("127.0.0.1", free_ports(1)[0], "NOBODY", "TESTER"))
    else:
        with scripted_peer(script) as peer:
            is_good, events = once(inbox, Peer("127.0.0.1", peer.target.port, "X", "TESTER"))
    assert not is_good and events[-1].counts["left"] == 2
    assert names(inbox) == [".lock", "00000.dcm", "00001.dcm"]


@pytest.mark.parametrize("script", [Script(statuses=(0xA900,)), Script(refuses_contexts=True)])
def test_what_is_refused_for_good_is_set_apart_with_its_reason(
    tmp_path: Path, script: Script
) -> None:
    inbox = tmp_path / "in"
    study(inbox)
    with scripted_peer(script) as peer:
        is_good, _ = once(inbox, Peer("127.0.0.1", peer.target.port, "X", "TESTER"))
    assert not is_good
    assert names(inbox) == [".failed/00000.dcm", ".failed/00000.dcm.reason.json", ".lock"]


def test_a_file_that_is_written_to_is_not_complete(tmp_path: Path) -> None:
    [path] = study(tmp_path)
    files = InboxFiles(tmp_path, settle_s=0.0)
    assert len(files.complete()[0]) == 1
    slow = InboxFiles(tmp_path, settle_s=60.0)
    assert slow.complete() == ([], 1)
    # Of the future by its sender's clock, and renamed to: still one look after the other.
    os.utime(path, (4e9, 4e9))
    [ready], _ = files.complete()
    with path.open("ab") as file:
        file.write(b"\0\0")
    assert not files.move(ready, ".sent") and path.exists()


def test_the_same_name_twice_is_kept_twice(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / "a.dcm").write_text(str(number))
        files = InboxFiles(tmp_path, settle_s=0.0)
        [ready], _ = files.complete()
        assert files.move(ready, ".sent")
    kept = {path.read_text() for path in (tmp_path / ".sent").iterdir()}
    assert kept == {"1", "2", "3"}


def test_one_process_an_inbox(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(FatalError, match="another process"), locked(tmp_path):
        pass
    with pytest.raises(FatalError, match="opening the inbox"), locked(tmp_path / "gone"):
        pass


def test_a_kill_loses_nothing_and_sigterm_ends_well(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    paths = study(inbox, 20)
    uids = set()
    with running_gateway(tmp_path / "spool") as gateway:
        watching = process(inbox, gateway.port)
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["event"] == "sent"
        watching.kill()
        watching.communicate()
        left = [path for path in paths if path.exists()]
        assert len(names(inbox / ".sent")) + len(left) == len(paths)
        watching = process(inbox, gateway.port)
        eventually(lambda: not any(path.exists() for path in paths), START_DEADLINE_S)
        watching.send_signal(signal.SIGTERM)
        said, _ = watching.communicate(timeout=START_DEADLINE_S)
        assert watching.returncode == 0
        assert json.loads(said.splitlines()[-1])["counts"]["sent"] == len(left)
        uids = _uids(gateway)
    assert len(uids) == len(names(inbox / ".sent")) == len(paths)


def _uids(gateway: RunningGateway) -> set[str]:
    return {delivery.sop_instance_uid for delivery, _ in gateway.deliveries()}


@pytest.mark.parametrize(("answer", "stays"), [(None, False), (0xA700, True)])
def test_a_file_that_alone_gets_no_answer_is_set_apart_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | None, stays: bool
) -> None:
    """The others are stored in every round: it is the file, then; what is full is not."""
    rounds = 2
    monkeypatch.setattr("operations.inbox.TRIES_MAX", rounds)
    inbox = tmp_path / "in"
    [bad] = study(inbox)
    events: list[InboxEvent] = []
    with scripted_peer(Script(answers={_uid(bad): answer})) as peer:
        target = Peer("127.0.0.1", peer.target.port, "X", "TESTER")
        options = InboxOptions(inbox, settle_s=0.0, is_once=True, look_every_s=0.01)
        watching = Inbox(options, target, events.append)
        for round_number in range(rounds):
            study(inbox / f"more{round_number}", seed=round_number + 2)
            watching.watch()
    assert events[-1].counts["sent"] == rounds
    assert bad.exists() == stays and (inbox / ".failed" / bad.name).exists() != stays


def test_what_waits_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.inbox.FILES_A_ROUND_MAX", 2)
    paths = study(tmp_path, 7)
    answers: dict[str, int | None] = {_uid(path): 0xA700 for path in paths[:5]}
    with scripted_peer(Script(answers=answers)) as peer:
        is_good, events = once(tmp_path, Peer("127.0.0.1", peer.target.port, "X", "TESTER"))
    assert not is_good and events[-1].counts["left"] == 5
    assert names(tmp_path / ".sent") == [path.name for path in paths[5:]]


def test_an_archive_that_finds_no_room_stays_and_one_without_files_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "in"
    [path] = study(tmp_path / "ct")
    inbox.mkdir()
    with zipfile.ZipFile(inbox / "ct.zip", "w") as archive:
        archive.write(path)
    with zipfile.ZipFile(inbox / "folders.zip", "w") as archive:
        archive.mkdir("empty")
    with running_gateway(tmp_path / "spool") as gateway:
        with monkeypatch.context() as full:
            full.setattr("operations.zip_inputs.FREE_BYTES_MIN", 1 << 60)
            is_good, events = once(inbox, gateway.peer(), deletes=True)
        assert not is_good and events[-1].counts["left"] == 1
        assert (inbox / ".failed" / "folders.zip").exists()
        is_good, _ = once(inbox, gateway.peer(), deletes=True)
        assert is_good and len(gateway.deliveries()) == 1
    assert not (inbox / "ct.zip").exists()


def test_once_is_not_good_when_it_is_interrupted_or_a_file_is_still_written(
    tmp_path: Path,
) -> None:
    paths = study(tmp_path, 2)

    def interrupt(event: InboxEvent) -> None:
        if event.event == "sent":
            raise KeyboardInterrupt

    options = InboxOptions(tmp_path, settle_s=0.05, is_once=True, look_every_s=0.05)
    with scripted_peer(Script()) as peer:
        target = Peer("127.0.0.1", peer.target.port, "X", "TESTER")
        assert not Inbox(options, target, interrupt).watch()
        assert paths[1].exists()
        (tmp_path / "writing").touch()
        with ThreadPoolExecutor(1) as pool:
            is_over = threading.Event()
            pool.submit(_write_on, tmp_path / "writing", is_over)
            try:
                # The writer may stand still for a moment, but not so long.
                is_good, events = once(tmp_path, target, settle_s=3.0)
            finally:
                is_over.set()
    assert not is_good and events[-1].counts["not complete"] == 1
    assert events[-1].counts["sent"] == 1


def test_every_line_is_one_document_whatever_a_file_is_called(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    [path] = study(inbox)
    path.rename(os.fsdecode(os.fsencode(inbox) + b"/M\xfcller.dcm"))
    (inbox / os.fsdecode(b"\xe9\n.txt")).write_text("not DICOM")
    with running_gateway(tmp_path / "spool") as gateway:
        sending = process(inbox, gateway.port, "--once")
        said, _ = sending.communicate(timeout=START_DEADLINE_S)
    assert sending.returncode == 1
    events = [json.loads(line) for line in said.splitlines()]
    assert sorted(one["event"] for one in events) == ["ended", "failed", "sent"]
    with locked(inbox):
        second = process(inbox, 1)
        said, _ = second.communicate(timeout=START_DEADLINE_S)
    assert second.returncode == 78
    [event] = [json.loads(line) for line in said.splitlines()]
    assert event["event"] == "error" and "another process" in event["reason"]


def _uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def _write_on(path: Path, is_over: threading.Event) -> None:
    with path.open("ab", buffering=0) as file:
        while not is_over.wait(0.01):
            file.write(b"\0")
