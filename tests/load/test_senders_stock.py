"""DCMTK's senders as packaged: what they send, and that what a peer does to them is named."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

import pydicom
import pytest

from contracts.failures import FatalError
from load.compare.goals import CELLS
from load.compare.sending import CellSender
from load.senders import SendRun, StockOptions, Target, send_stock, stock_version
from load.senders.stock_output import read_output
from load.studies import Identity, stamp, write_part10
from operations.peers import find
from operations.ports import free_ports
from tests.edge_gateway.running_gateway import AE_TITLE, running_gateway
from tests.load.scripted_peer import Script, scripted_peer
from tests.load.sender_templates import small_template

needs_dcmtk = pytest.mark.skipif(find("storescu") is None, reason="no DCMTK here")
Program: TypeAlias = Literal["storescu", "dcmsend"]
PROGRAMS: tuple[Program, ...] = ("storescu", "dcmsend")


def part10_files(folder: Path, count: int) -> dict[str, Path]:
    """Synthetic files by their SOP Instance UID."""
    template = small_template()
    files = {}
    for number in range(count):
        identity = Identity(1, 1, 1, number)
        # A space in the name, as on modalities that run Windows.
        path = folder / f"slice {number}.dcm"
        write_part10(path, template, identity)
        files[identity.sop_instance_uid] = path
    return files


def run_against(script: Script, folder: Path, program: Program) -> SendRun:
    files = part10_files(folder, 4)
    with scripted_peer(script) as peer:
        return send_stock(peer.target, list(files.values()), options(program, associations=1))


def elements(data_set: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data_set), force=True)


def options(program: Program, associations: int = 4, seconds_max: float = 600.0) -> StockOptions:
    return StockOptions(program=program, associations=associations, seconds_max=seconds_max)


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_gateway_stores_is_what_stood_in_the_files(tmp_path: Path, program: Program) -> None:
    files = part10_files(tmp_path, 7)
    with running_gateway(tmp_path / "spool") as gateway:
        target = Target("127.0.0.1", gateway.port, AE_TITLE)
        run = send_stock(target, list(files.values()), options(program, associations=3))
        stored = {entry.sop_instance_uid: body for entry, body in gateway.deliveries()}
    template = small_template()
    wanted = [bytes(stamp(template, Identity(1, 1, 1, number))) for number in range(7)]
    # DCMTK writes a data set anew (padding), so that elements are compared and not bytes.
    assert [elements(stored[uid]) for uid in files] == [elements(body) for body in wanted]
    assert not run.failures()
    assert (run.acknowledged, run.processes, run.associations) == (7, 3, 3)
    assert run.bytes_acknowledged == sum(len(body) for body in wanted)
    assert run.cpu_s > 0
    assert all(one.latency_us is not None and one.latency_us > 0 for one in run.outcomes)


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_status_is_told_apart(tmp_path: Path, program: Program) -> None:
    script = Script(statuses=(0xA700, 0xC123, 0xB000, 0x1234))
    run = run_against(script, tmp_path, program)
    assert run.statuses == Counter({0xA700: 1, 0xC000: 1, 0xB000: 1, 0x1234: 1})
    assert (run.acknowledged, run.warned) == (1, 1)


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_abort_is_named_and_what_follows_is_counted(tmp_path: Path, program: Program) -> None:
    run = run_against(Script(abort_after=1), tmp_path, program)
    assert run.acknowledged == 1
    assert run.problems == Counter(
        {"aborted or closed by the peer": 1, "association lost before": 2}
    )


@needs_dcmtk
@pytest.mark.parametrize(
    ("program", "problem"),
    (
        ("storescu", "rejected: Rejected Permanent, Service User, Calling AE Title Not Recognized"),
        ("dcmsend", "rejected"),
    ),
)
def test_a_rejection_is_a_problem_of_every_file(
    tmp_path: Path, program: Program, problem: str
) -> None:
    run = run_against(Script(reject=(1, 1, 3)), tmp_path, program)
    assert run.problems == Counter({problem: 4})
    assert run.association_problems == {problem: 1}


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_context_that_is_not_accepted_is_named(tmp_path: Path, program: Program) -> None:
    run = run_against(Script(refuses_contexts=True), tmp_path, program)
    assert run.problems == Counter({"presentation context not accepted": 4})


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_refused_connection_is_named(tmp_path: Path, program: Program) -> None:
    files = list(part10_files(tmp_path, 3).values())
    run = send_stock(Target("127.0.0.1", free_ports(1)[0], "NOBODY"), files, options(program))
    assert run.problems == Counter({"refused": 3})
    assert run.rate == 0


@needs_dcmtk
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_takes_too_long_is_ended(tmp_path: Path, program: Program) -> None:
    files = list(part10_files(tmp_path, 3).values())
    # A busy machine takes longer to the first answer; what stalls is ended however long it gets.
    for seconds_max in (1.0, 5.0, 20.0, 80.0):
        with scripted_peer(Script(stall_after=1)) as peer:
            chosen = options(program, associations=1, seconds_max=seconds_max)
            run = send_stock(peer.target, files, chosen)
        if run.acknowledged:
            break
    assert run.acknowledged == 1
    assert run.problems == Counter({"timed out": 2})


def test_a_missing_program_is_a_problem_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list(part10_files(tmp_path, 2).values())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stock_version("storescu") is None
    run = send_stock(Target("127.0.0.1", 1, "X"), files, StockOptions())
    assert run.problems == Counter({"not installed: storescu": 2})


@needs_dcmtk
def test_a_transfer_syntax_that_the_program_does_not_know_is_named(tmp_path: Path) -> None:
    htj2k = "1.2.840.10008.1.2.4.201"
    path = tmp_path / "one.dcm"
    write_part10(path, small_template(transfer_syntax_uid=htj2k), Identity(1, 1, 1, 1))
    run = send_stock(Target("127.0.0.1", 1, "X"), [path], StockOptions())
    assert list(run.problems) == [f"storescu does not propose transfer syntax {htj2k}"]


@needs_dcmtk
def test_the_version_is_a_number() -> None:
    assert (stock_version("storescu") or "").startswith("3.")


def test_a_file_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    path = tmp_path / "text.dcm"
    path.write_text("not DICOM")
    with pytest.raises(FatalError, match="no Part-10 file"):
        send_stock(Target("127.0.0.1", 1, "X"), [path], StockOptions())


def test_a_response_that_is_not_understood_is_no_success() -> None:
    path = Path("a.dcm")
    log = "@1 2.3 INFO|Sending C-STORE Request (MsgID 1, CT)\n"
    log += "@1 2.9 INFO|Received C-STORE Response (Splendid)\n"
    result = read_output(log, [path])
    assert result.files[0].status is None
    assert result.files[0].problem == "response not understood: Splendid"


@needs_dcmtk
def test_a_script_of_the_same_name_in_front_on_the_path_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadows = tmp_path / "bin"
    shadows.mkdir()
    for program in PROGRAMS:
        shadow = shadows / program
        shadow.write_text("#!/bin/sh\necho not ours >&2\nexit 3\n")
        shadow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shadows}:{os.environ['PATH']}")
    assert find("storescu") != shutil.which("storescu") == str(shadows / "storescu")
    assert (stock_version("storescu") or "").startswith("3.")
    with scripted_peer(Script()) as peer:
        files = list(part10_files(tmp_path, 2).values())
        run = send_stock(peer.target, files, options("storescu", associations=1))
    assert run.acknowledged == 2


@needs_dcmtk
def test_a_stock_column_is_sent_by_the_program_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = tmp_path / "bin"
    only.mkdir()
    (only / "dcmsend").symlink_to(find("dcmsend") or "")
    cell = next(cell for cell in CELLS if cell.key == "stock-small-1")
    monkeypatch.setenv("PATH", str(only))
    with scripted_peer(Script()) as peer:
        runs = [
            CellSender(cell, 1, {}, tmp_path, stock=program).send(peer.target, 2, 1)
            for program in PROGRAMS
        ]
    assert [run.acknowledged for run in runs] == [0, 2]
    assert runs[0].problems == Counter({"not installed: storescu": 2})
