"""A watched folder: what is complete is sent and put away, and nothing is lost on a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
START_DEADLINE_S = 60.0
ROOT = Path(__file__).resolve().parent.parent.parent


def study(folder: Path, slices: int = 1, seed: int = 1) -> list[Path]:
    return CtStudy(slices, rows=16, seed=seed).write(folder)


def once(folder: Path, peer: Peer, **more: bool) -> tuple[bool, list[InboxEvent]]:
    events: list[InboxEvent] = []
    options = InboxOptions(folder, settle_s=0.05, is_once=True, look_every_s=0.05, **more)
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


def test_a_file_that_alone_gets_no_answer_is_set_apart_at_last(tmp_path: Path) -> None:
    """The others are stored in every round: it is the file, then."""
    inbox = tmp_path / "in"
    [bad] = study(inbox)
    events: list[InboxEvent] = []
    with scripted_peer(Script(statuses=(0xA700, 0x0000))) as peer:
        target = Peer("127.0.0.1", peer.target.port, "X", "TESTER")
        for round_number in range(6):
            study(inbox / f"more{round_number}", seed=round_number + 2)
            options = InboxOptions(inbox, settle_s=0.0, is_once=True, look_every_s=0.01)
            if not round_number:
                watching = Inbox(options, target, events.append)
            watching.watch()
    assert not bad.exists() and (inbox / ".failed" / bad.name).exists()
