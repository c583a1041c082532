"""What the time line, the backlog, the commits and the resources say is what happened."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.events import Area
from contracts.topics import PACK_ARCHIVED, RECEIVED
from infra.seams import ConsumedRecord
from load.senders import Outcome
from load.stages import Stage
from load.stages.commits import COMMITS_TOPIC, Commit, CommitLog, commit_of
from load.stages.events import Pack, Place
from load.stages.lag import backlogs, consumer_lags, waiting
from load.stages.resources import forget_peaks, look_at, used_between
from load.stages.timeline import Timeline, build_timeline

AT = datetime(2026, 1, 1, tzinfo=UTC)


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def commit_record(key: bytes, value: bytes | None) -> ConsumedRecord:
    return ConsumedRecord(COMMITS_TOPIC, 0, 7, AT, key, value, ())


def offset_key(group: str, topic: str, partition: int, version: int = 1) -> bytes:
    return struct.pack(">h", version) + text(group) + text(topic) + struct.pack(">i", partition)


def outcome(uid: str, sent: float, answered: float | None) -> Outcome:
    status = None if answered is None else 0
    return Outcome(uid, "ct", 1000, None, sent, answered, status, "" if answered else "lost")


def a_run() -> Timeline:
    commits = CommitLog()
    commits.add(
        [
            Commit("metadata-index", RECEIVED.name, 3, 11, 14.0),
            Commit("metadata-index", PACK_ARCHIVED.name, 3, 1, 16.0),
        ]
    )
    pack = Pack(Place(3, 0, 15.0), "packs/x", Area.PACKS, 5000, ("a", "b"))
    received = {"a": Place(3, 10, 12.0), "b": Place(3, 11, 12.5)}
    outcomes = [outcome("a", 10.0, 11.0), outcome("b", 10.5, 11.5), outcome("c", 10.0, None)]
    return build_timeline(outcomes, received, {"a": pack, "b": pack}, {"a": 18.0}, commits)


def test_an_offset_commit_is_read_whatever_its_version() -> None:
    for version, tail in ((0, b""), (3, b"\xff\xff\xff\xff\x00\x00"), (4, b"\x01\x00")):
        value = struct.pack(">hq", version, 42) + tail
        found = commit_of(commit_record(offset_key("x.group", "x.topic", 5), value), "x.")
        assert found == Commit("group", "topic", 5, 42, AT.timestamp())


def test_what_is_no_offset_commit_is_passed_over() -> None:
    value = struct.pack(">hq", 3, 42)
    assert commit_of(commit_record(offset_key("g", "t", 0), None), "") is None
    assert commit_of(commit_record(offset_key("g", "t", 0, version=2), value), "") is None
    assert commit_of(commit_record(offset_key("g", "t", 0)[:9], value), "") is None
    assert commit_of(commit_record(b"\x00\x01\x7f\xff", value), "") is None
    assert commit_of(commit_record(offset_key("other", "t", 0), value), "mine.") is None


def test_a_record_is_done_at_the_first_commit_beyond_it() -> None:
    log = CommitLog()
    log.add(Commit("g", "t", 0, offset, at) for offset, at in ((5, 1.0), (5, 2.0), (9, 3.0)))
    assert [log.done_at("g", "t", 0, offset) for offset in (4, 5, 8, 9)] == [1.0, 3.0, 3.0, None]
    assert log.done_at("g", "t", 1, 0) is None


def test_indexed_needs_the_header_and_the_pack() -> None:
    line = a_run()
    assert [one.indexed_at for one in line.instances] == [16.0, None]  # b's header: offset 11
    assert [one.sop_instance_uid for one in line.instances] == ["a", "b"]
    assert line.missing(Stage.INDEXED) == ["b"] and line.missing(Stage.ARCHIVED) == []


def test_rates_count_from_the_first_byte_to_the_last_that_came() -> None:
    line = a_run()
    assert line.seconds(Stage.ARCHIVED) == 5.0
    assert line.rate(Stage.ARCHIVED) == 2 / 5
    assert line.rate(Stage.REPLICATED) == 1 / 8
    assert line.megabytes_per_s(Stage.ARCHIVED) == pytest.approx(0.0004)
    assert line.latency(Stage.ARCHIVED).get_total_count() == 2
    assert line.latency(Stage.ARCHIVED).get_max_value() == pytest.approx(4e6, rel=1e-3)


def test_what_waited_is_what_came_and_did_not_leave() -> None:
    found = waiting("x", ([1.0, 1.2, 3.0], [2.5]), 0.0, [0.0, 1.0, 2.0, 3.0])
    assert found.count == (0, 1, 2, 2) and found.most == 2
    by_name = {one.name: one for one in backlogs(a_run())}
    assert by_name["not replicated"].count[-1] == 1
    places = {RECEIVED.name: [Place(0, 0, 10.0)]}
    lags = {one.name: one.most for one in consumer_lags(places, CommitLog(), 10.0)}
    assert lags[f"object-archive ← {RECEIVED.name}"] == 1


WORK = """
import os, sys, time
with open(sys.argv[1], "wb") as file:
    file.write(bytes(4 << 20)); file.flush(); os.fsync(file.fileno())
block = bytearray(64 << 20)
until = time.process_time() + 0.2
while time.process_time() < until: pass
print("done", flush=True); sys.stdin.read()
"""


def test_a_process_is_charged_with_what_it_used(tmp_path: Path) -> None:
    command = (sys.executable, "-c", f"import sys; sys.stdin.readline()\n{WORK}")
    with subprocess.Popen(
        (*command, str(tmp_path / "file")), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        pids = {"work": process.pid, "gone": 2**22 + 1}
        forget_peaks([process.pid])
        before = look_at(pids, tmp_path, 5)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        used = used_between(before, look_at(pids, tmp_path, 8))
        process.stdin.close()
    assert used.spool_flushes == 3
    [work] = used.processes
    assert work.cpu_s is not None and work.cpu_s >= 0.15
    assert work.memory_peak_bytes is not None and work.memory_peak_bytes > 60 << 20
    if work.written_bytes:  # a tmpfs writes to no disk
        assert work.written_bytes >= 4 << 20


def test_a_process_that_was_started_anew_has_no_figures(tmp_path: Path) -> None:
    before = look_at({"x": os.getpid()}, tmp_path, None)
    after = look_at({"x": os.getppid()}, tmp_path, 3)
    used = used_between(before, after)
    assert used.processes[0].cpu_s is None and used.spool_flushes is None
