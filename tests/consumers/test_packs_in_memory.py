"""Packs in memory: never on disk below the budget, on the scratch disk above it, never beyond."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumers import dr_replica, object_archive
from consumers.held_pack import InMemory
from consumers.object_archive import ObjectArchive
from consumers.pack_buffers import PackBuffers
from consumers.pack_groups import PACK_BYTES_MAX, memory_bytes, pack_groups
from consumers.scratch import Scratch
from consumers.spec import ConsumerSpec, Record
from consumers.transfers import PENDING_PER_THREAD, Transfers
from contracts.failures import RetryableError
from contracts.topics import PACK_ARCHIVED, RECEIVED
from infra.clock import SystemClock
from infra.connect import connect
from infra.seams import ObjectStore, StoredObject
from infra.settings import ConsumerSettings, Settings
from infra.telemetry import Metrics
from tests.consumers import story
from tests.consumers.final_states import FINAL_STATES
from tests.consumers.world import World, member_of, world_in
from tests.polling import eventually

DEADLINE_S = 60.0


@pytest.mark.parametrize("memory_bytes_max", [None, 0])
@pytest.mark.parametrize(
    ("spec", "topic"),
    [(object_archive.SPEC, RECEIVED), (dr_replica.SPEC, PACK_ARCHIVED)],
    ids=["object-archive", "dr-replica"],
)
def test_the_budget_decides_whether_a_pack_touches_the_disk(
    databases: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: ConsumerSpec,
    topic: object,
    memory_bytes_max: int | None,
) -> None:
    written: list[str] = []
    make = Scratch.file

    def noted(self: Scratch, name: str) -> object:
        written.append(name)
        return make(self, name)

    monkeypatch.setattr(Scratch, "file", noted)
    own = ConsumerSettings(memory_bytes_max=memory_bytes_max)
    changed = databases.model_copy(update={"consumers": {**databases.consumers, spec.name: own}})
    with world_in(changed, tmp_path) as world:
        told = story.deliveries(8)
        world.publish(world.tell(told, [topic])[topic])  # type: ignore[list-item,index]
        with member_of(world, spec):
            world.wait_committed(spec)
            FINAL_STATES[spec.name](world, told)
    assert bool(written) is (memory_bytes_max == 0)


def test_a_study_is_cut_into_packs_of_about_the_same_size() -> None:
    (first,) = story.deliveries(1)
    size = 1024 * 1024
    study = [
        Record(
            replace(
                first.event,
                delivery_id=f"01980000-0000-7000-8000-{number:012d}",
                size_bytes=size if number else 3 * PACK_BYTES_MAX,
            ),
            RECEIVED.name,
            0,
            number,
        )
        for number in range(101)
    ]
    sizes = [sum(map(memory_bytes, group)) for _, group in pack_groups(study)]
    assert sizes[0] > PACK_BYTES_MAX, "a giant is a pack of its own"
    assert all(PACK_BYTES_MAX / 2 < taken <= PACK_BYTES_MAX for taken in sizes[1:-1])
    even = [sum(map(memory_bytes, group)) for _, group in pack_groups(study[1:])]
    assert len(even) == 2 and max(even) - min(even) <= 2 * size


def test_transfers_never_hold_more_than_their_memory() -> None:
    transfers: Transfers[int] = Transfers(
        ConsumerSettings(memory_bytes_max=100, transfers_at_once=2)
    )
    lock, held, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2, timeout=DEADLINE_S)

    def transfer(number: int) -> int:
        with lock:
            held[0] += 40
            most[0] = max(most[0], held[0])
        both.wait()
        with lock:
            held[0] -= 40
        return number

    found: list[int] = []
    for number in range(6):
        found += transfers.make_room(40)
        transfers.start(40, lambda number=number: transfer(number))  # type: ignore[misc]
    found += transfers.rest()
    transfers.close()
    assert found == list(range(6)) and most[0] == 80
    assert transfers.has_room_for(100) and not transfers.has_room_for(101)


def test_a_transfer_that_fails_fails_the_batch_and_nothing_stays_in_flight() -> None:
    transfers: Transfers[int] = Transfers(ConsumerSettings(transfers_at_once=1))
    begun, may_end = threading.Event(), threading.Event()
    ended: list[int] = []

    def fail() -> int:
        raise RetryableError("the store is down")

    def slow() -> int:
        begun.set()
        may_end.wait(DEADLINE_S)
        ended.append(1)
        return 1

    transfers.start(1, fail)
    for _ in range(PENDING_PER_THREAD - 1):
        transfers.start(1, slow)
    with pytest.raises(RetryableError, match="the store is down"):
        list(transfers.rest())
    assert begun.wait(DEADLINE_S)
    running, *others = [one.future for one in transfers._pending]
    abandoning = threading.Thread(target=transfers.abandon)
    abandoning.start()
    # Only then: the thread would begin the next one as soon as the first has ended.
    eventually(lambda: all(one.cancelled() for one in others), "the others are cancelled")
    may_end.set()
    abandoning.join(DEADLINE_S)
    assert not abandoning.is_alive() and running.done()
    assert ended == [1], "the one that ran has ended, the others never began"
    assert list(transfers.rest()) == []
    transfers.close()


class _SlowSite:
    """A clock, and an object store whose new objects take twenty minutes of it each."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._passed_s = 0.0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner if hasattr(self._inner, name) else SystemClock(), name)

    def monotonic(self) -> float:
        return self._passed_s

    def put_buffers(self, key: str, *rest: Any) -> StoredObject:
        if self._inner.head(key) is None:
            with self._lock:
                self._passed_s += 20 * 60.0
        return self._inner.put_buffers(key, *rest)


def test_a_batch_whose_packs_are_still_on_their_way_at_its_deadline_comes_again(
    world: World,
) -> None:
    told = story.deliveries(20)
    events = world.tell(told, [RECEIVED])[RECEIVED]
    records = [Record(event, RECEIVED.name, 0, number) for number, event in enumerate(events)]
    engines = connect(world.settings, "object-archive", Metrics())
    slow: Any = _SlowSite(engines.primary.object_store)
    site = replace(engines.primary, object_store=slow)
    writer = ObjectArchive(replace(engines, clock=slow, primary=site))
    with pytest.raises(RetryableError, match="not done after"):
        writer.write(records)
    for _ in range(len(told)):
        with suppress(RetryableError):
            writer.write(records)
            break
    writer.close()
    engines.close()
    FINAL_STATES["object-archive"](world, told)


def test_a_pack_in_memory_reads_like_its_bytes_and_forgets_what_was_refused() -> None:
    pack = PackBuffers()
    for data in (b"abc", b"", b"defgh", b"ij"):
        pack.write(data)
    for start in range(12):
        for length in range(12):
            assert pack.read_range(start, length) == b"abcdefghij"[start : start + length]
    pack.seek(3)
    pack.truncate()
    pack.write(b"XYZ")
    assert b"".join(pack.buffers) == b"abcXYZ" and pack.size_bytes == 6


def test_a_copy_that_is_longer_than_announced_is_not_held() -> None:
    held = InMemory(6)
    assert held.fill([b"abc", b"def"]) == hashlib.sha256(b"abcdef").hexdigest()
    assert InMemory(5).fill(iter([b"abc", b"def"])) == ""
