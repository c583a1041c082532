"""Who writes: one that waits writes for all; a disk that hangs holds nobody past the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge_gateway.spool import Spool, SpoolBroken, SpoolError, SpoolLimits, SpoolStalled
from edge_gateway.spool.pending import Pending
from edge_gateway.spool.sealing import Sealed
from tests.edge_gateway.spool.seams import HangingFileSystem
from tests.edge_gateway.spool.workload import (
    DEADLINE_S,
    SMALL_SEGMENTS,
    await_segment_ahead,
    contents,
    data_set,
    eventually,
    facts,
    opened,
    receipt,
    store,
)

# In force only while the disk hangs: a flush on a machine that is busy may take longer.
QUICK_DEADLINE = replace(SMALL_SEGMENTS, commit_wait_ms=500)


@dataclass
class Storing:
    """A data set that a thread of its own stores; `ended` is set when commit is back."""

    spool: Spool
    delivery_id: str = ""
    error: SpoolError | None = None
    cut: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Storing:
        threading.Thread(target=self._store, name="association", daemon=True).start()
        return self

    def _store(self) -> None:
        described = facts()
        self.delivery_id = described.delivery_id
        try:
            with self.spool.begin(described, self.cut.set) as sink:
                sink.write(data_set(described.delivery_id, 500))
                sink.commit()
        except SpoolError as error:
            self.error = error
        self.ended.set()


@dataclass(frozen=True)
class HungSpool:
    fs: HangingFileSystem
    spool: Spool
    directory: Path

    def store(self) -> Storing:
        """Returns when it is queued, or hangs in its flush."""
        # The first one leads and is out of the queue; the others stay in it while the disk hangs.
        queued = len(self.spool._parts.committer._queue) + bool(self.fs.hanging)
        storing = Storing(self.spool).start()
        eventually(
            lambda: bool(self.fs.hanging) and len(self.spool._parts.committer._queue) >= queued,
            "it waits",
        )
        return storing

    def wait_at_most(self, limits: SpoolLimits) -> None:
        """What commits from now on gives up after the `commit_wait_ms` of these."""
        self.spool._parts.committer._limits = limits


@contextmanager
def hung_spool(directory: Path) -> Iterator[HungSpool]:
    fs = HangingFileSystem()
    with Spool.open(directory, "north", SMALL_SEGMENTS, fs=fs) as spool:
        store(spool, 100)
        # Only what the test stores is to hang.
        await_segment_ahead(spool)
        yield HungSpool(fs, spool, directory)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[HungSpool]:
    """Nobody gives up."""
    with hung_spool(tmp_path / "spool") as found:
        yield found


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungSpool]:
    """Those that wait give up soon."""
    with hung_spool(tmp_path / "spool") as found:
        found.wait_at_most(QUICK_DEADLINE)
        yield found


def test_a_lone_association_flushes_by_itself(patient: HungSpool) -> None:
    patient.fs.flushers.clear()
    for _ in range(5):
        store(patient.spool, 500)
    assert patient.fs.flushers.count(threading.current_thread().name) == 5


def test_a_receipt_is_flushed_though_nobody_waits(patient: HungSpool) -> None:
    patient.fs.flushers.clear()
    patient.spool.association_opened(opened("idle"))
    eventually(lambda: bool(contents(patient.directory).opened), "it is flushed")
    assert set(patient.fs.flushers) <= {"spool-committer", "spool-supply"}


def test_what_gathers_behind_a_flush_is_one_flush(patient: HungSpool) -> None:
    before = patient.spool.statistics().flushes
    with patient.fs.hang():
        leader = patient.store()
        behind = [Storing(patient.spool).start() for _ in range(6)]
        eventually(lambda: len(patient.spool._parts.committer._queue) == 6, "all are queued")
    for storing in (leader, *behind):
        assert storing.ended.wait(DEADLINE_S)
        assert storing.error is None
    assert patient.spool.statistics().flushes - before == 2
    assert {s.delivery_id for s in (leader, *behind)} <= set(contents(patient.directory).deliveries)


def test_a_disk_that_hangs_holds_nobody_past_the_deadline(hung: HungSpool) -> None:
    with hung.fs.hang():
        started_s = time.monotonic()
        leader, follower = hung.store(), hung.store()
        assert follower.ended.wait(DEADLINE_S)
        assert isinstance(follower.error, SpoolStalled)
        # The one that leads is in the kernel: its peer is let go in its place.
        assert leader.cut.wait(DEADLINE_S)
        assert time.monotonic() - started_s >= QUICK_DEADLINE.commit_wait_ms / 1000
        assert not leader.ended.is_set()
        assert not follower.cut.is_set()
        late = hung.store()
        assert late.ended.wait(DEADLINE_S)
        assert isinstance(late.error, SpoolStalled)
        hung.wait_at_most(SMALL_SEGMENTS)
    assert leader.ended.wait(DEADLINE_S)
    # Its flush came back, but its peer has been told otherwise.
    assert isinstance(leader.error, SpoolStalled)
    delivery = store(hung.spool, 700)
    hung.spool.append_receipt(receipt(delivery))
    eventually(lambda: bool(contents(hung.directory).receipts), "the spool goes on")


def test_those_behind_a_leader_that_gave_up_are_not_given_the_turn(hung: HungSpool) -> None:
    with hung.fs.hang():
        leader = hung.store()
        given_up = [hung.store() for _ in range(3)]
        for storing in given_up:
            assert storing.ended.wait(DEADLINE_S)
        hung.wait_at_most(SMALL_SEGMENTS)
        waiting = hung.store()
    for storing in (leader, waiting):
        assert storing.ended.wait(DEADLINE_S)
    assert waiting.error is None
    found = contents(hung.directory).deliveries
    # What was told as stalled may still be kept, as it may be when an answer is lost.
    assert {leader.delivery_id, waiting.delivery_id} <= set(found)


def test_a_fault_of_ours_while_writing_leaves_nobody_waiting(
    patient: HungSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(patient.spool._parts.log, "write", fail)
    with pytest.raises(MemoryError):
        store(patient.spool, 100)
    assert patient.spool.broken is not None
    with pytest.raises(SpoolError):
        store(patient.spool, 100)


def test_a_leader_whose_record_another_thread_has_yet_to_fail_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(SMALL_SEGMENTS, receipt_delay_ms=60_000)
    failing_may_go_on = threading.Event()
    with Spool.open(tmp_path / "spool", "north", limits) as spool:
        committer = spool._parts.committer
        lead, fail_queue = committer._lead, committer._fail_queue

        def break_and_lead(own: Pending | None) -> None:
            spool._parts.health.declare_broken("pulled out")
            lead(own)

        def fail_queue_second() -> None:
            if threading.current_thread().name != "spool-committer":
                eventually(lambda: not committer._queue, "the queue is taken")
            fail_queue()

        def wait_for_leave() -> None:
            failing_may_go_on.wait(DEADLINE_S)

        monkeypatch.setattr(committer, "_lead", break_and_lead)
        monkeypatch.setattr(committer, "_fail_queue", fail_queue_second)
        # The committer's thread stays with this one, so that the delivery behind it is not told.
        entry = opened()
        committer.append(Pending(Sealed.of(entry), give_back=wait_for_leave))
        try:
            with pytest.raises(SpoolBroken, match="pulled out"):
                store(spool, 100)
        finally:
            failing_may_go_on.set()
    assert not contents(tmp_path / "spool").deliveries
