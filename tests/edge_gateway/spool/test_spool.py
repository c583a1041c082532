"""The receiver's side: what commit, abort, limits and roll-over do."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge_gateway.spool import (
    Ending,
    ObjectTooLarge,
    Receipt,
    Spool,
    SpoolBroken,
    SpooledDelivery,
    SpoolError,
    SpoolLimits,
    SpoolLocked,
    SpoolMismatch,
    SpoolReader,
    spool_usage,
)
from tests.edge_gateway.spool.seams import SlowFileSystem
from tests.edge_gateway.spool.workload import (
    NOW,
    SMALL_SEGMENTS,
    contents,
    data_set,
    eventually,
    facts,
    new_id,
    opened,
    receipt,
    store,
)


def test_committed_delivery_is_read_back_with_its_facts(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, 5000)
        found = contents(tmp_path / "spool")
    assert found.deliveries == {delivery.delivery_id: delivery}
    assert delivery.received_at == NOW
    assert delivery.size_bytes == 5000
    assert not delivery.external


@pytest.mark.parametrize("size_bytes", [0, 1, 7, 8, 8 * 1024, 8 * 1024 + 1, 100_000])
def test_every_length_is_read_back(tmp_path: Path, size_bytes: int) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, size_bytes)
        found = contents(tmp_path / "spool")
    assert list(found.deliveries) == [delivery.delivery_id]
    assert not found.gone | found.rotten
    assert delivery.external == (size_bytes > SMALL_SEGMENTS.inline_bytes_max)


def test_quarantine_reason_is_given_at_commit(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        sink = spool.begin(facts())
        sink.write(b"raw")
        delivery = sink.commit("uid_mismatch")
        found = contents_without_bytes(tmp_path / "spool")
    assert found == [(delivery.delivery_id, "uid_mismatch")]


def contents_without_bytes(directory: Path) -> list[tuple[str, str | None]]:
    reader = SpoolReader(directory)
    records = reader.poll(10)
    reader.close()
    return [
        (r.entry.delivery_id, r.entry.quarantine_reason)
        for r in records
        if isinstance(r.entry, SpooledDelivery)
    ]


def test_abort_leaves_no_memory_and_no_file(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        small, large = spool.begin(facts()), spool.begin(facts())
        small.write(bytes(4000))
        large.write(bytes(30_000))
        assert spool.statistics().memory_bytes == 4000
        assert spool_usage(tmp_path / "spool").objects == 1
        small.abort()
        large.abort()
        assert spool.statistics().memory_bytes == 0
        assert spool_usage(tmp_path / "spool").objects == 0
        with pytest.raises(SpoolError, match="committed or aborted"):
            small.write(b"more")
        assert not contents(tmp_path / "spool").deliveries


def test_leaving_the_sink_uncommitted_aborts_it(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        with spool.begin(facts()) as sink:
            sink.write(bytes(30_000))
        assert spool_usage(tmp_path / "spool").objects == 0


def test_object_above_its_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    limits = replace(SMALL_SEGMENTS, object_bytes_max=20_000)
    with Spool.open(tmp_path / "spool", "north", limits) as spool:
        sink = spool.begin(facts())
        sink.write(bytes(20_000))
        with pytest.raises(ObjectTooLarge):
            sink.write(b"x")
        assert spool_usage(tmp_path / "spool").objects == 0
        assert spool.broken is None


def test_used_up_memory_sends_objects_to_disk(tmp_path: Path) -> None:
    limits = replace(SMALL_SEGMENTS, memory_bytes_max=10_000)
    with Spool.open(tmp_path / "spool", "north", limits) as spool:
        holder = spool.begin(facts("holder"))
        holder.write(bytes(8000))
        delivery = store(spool, 3000)
        assert delivery.external
        assert spool.statistics().memory_bytes == 8000
        holder.abort()
        assert not store(spool, 3000).external
        assert len(contents(tmp_path / "spool").deliveries) == 2


def test_facts_that_cannot_be_a_record_are_refused_before_a_byte(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        for wrong in (
            replace(facts(), delivery_id="../../etc"),
            replace(facts(), delivery_id=new_id().upper()),
            replace(facts(), sop_instance_uid="\udcff"),
            replace(facts(), sop_instance_uid="1" * 200_000),
        ):
            with pytest.raises(ValueError):
                spool.begin(wrong)


@pytest.mark.parametrize("uid", ["../../x", "\x00", "\u202e1.2", "1." * 500, ""])
def test_peer_text_is_kept_verbatim(tmp_path: Path, uid: str) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        described = replace(facts(), sop_instance_uid=uid)
        with spool.begin(described) as sink:
            sink.write(data_set(described.delivery_id, 10))
            sink.commit()
        found = contents(tmp_path / "spool")
    assert [d.sop_instance_uid for d in found.deliveries.values()] == [uid]


def test_receipts_are_flushed_without_a_commit(tmp_path: Path) -> None:
    refused = Receipt(
        association_id="association-1",
        delivery_id=None,
        sop_instance_uid="1.2.3",
        content_sha256=None,
        status=0xA700,
        answered_at=NOW,
    )
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        spool.association_opened(opened())
        delivery = store(spool, 100)
        spool.append_receipt(receipt(delivery))
        spool.append_receipt(refused)
        closed = spool.association_closed("association-1", Ending.RELEASED)
        assert closed.status_totals == ((0x0000, 1), (0xA700, 1))
        eventually(lambda: bool(contents(tmp_path / "spool").closed), "closing is flushed")
        found = contents(tmp_path / "spool")
    assert found.receipts == [receipt(delivery), refused]
    assert found.opened == [opened()]
    assert found.closed == [closed]


def test_one_flush_acknowledges_many_associations(tmp_path: Path) -> None:
    threads, each = 16, 20
    limits = SpoolLimits(segment_bytes=8 << 20, free_bytes_min=0)
    with Spool.open(tmp_path / "spool", "north", limits, fs=SlowFileSystem()) as spool:
        before = spool.statistics().flushes

        def associate(name: str) -> None:
            for _ in range(each):
                store(spool, 2000, name)

        run_together(threads, associate)
        flushes = spool.statistics().flushes - before
        print(f"{threads * each} commits in {flushes} flushes")
        assert flushes < threads * each / 2
        assert len(contents(tmp_path / "spool").deliveries) == threads * each


def run_together(threads: int, work: object) -> None:
    assert callable(work)
    running = [threading.Thread(target=work, args=(f"a{n}",)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_order_of_one_association_survives_rollover(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 6000).delivery_id for _ in range(60)]
        assert list(contents(tmp_path / "spool").deliveries) == sent
        assert spool_usage(tmp_path / "spool").segments > 5


def test_second_receiver_is_locked_out_and_the_first_unharmed(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        with pytest.raises(SpoolLocked):
            Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS)
        store(spool, 100)
    Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS).close()


def test_identity_is_minted_once(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        first = spool.identity
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        assert spool.identity == first
    reader = SpoolReader(tmp_path / "spool")
    assert reader.identity() == first
    with pytest.raises(SpoolMismatch, match="belongs to site"):
        Spool.open(tmp_path / "spool", "south", SMALL_SEGMENTS)


def test_lost_identity_beside_segments_is_fatal(tmp_path: Path) -> None:
    Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS).close()
    (tmp_path / "spool" / "gateway.json").unlink()
    with pytest.raises(SpoolMismatch, match=r"without a gateway\.json"):
        Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS)


def test_limits_that_clash_are_fatal_and_name_the_next_step(tmp_path: Path) -> None:
    limits = replace(SMALL_SEGMENTS, spool_bytes_max=100_000)
    with pytest.raises(SpoolMismatch, match="raise spool_bytes_max"):
        Spool.open(tmp_path / "spool", "north", limits)


def test_watermark_refuses_and_accepts_again_by_itself(tmp_path: Path) -> None:
    limits = replace(SMALL_SEGMENTS, spool_bytes_max=6 * 64 * 1024)
    with Spool.open(tmp_path / "spool", "north", limits) as spool:
        assert spool.admission().accepting
        large = store(spool, 500_000)
        eventually(lambda: not spool.admission().accepting, "the watermark is noticed")
        assert "spool full" in spool.admission().reason
        (tmp_path / "spool" / "objects" / f"{large.delivery_id}.ds").unlink()
        eventually(lambda: spool.admission().accepting, "room is noticed")


def test_closed_spool_acknowledges_nothing(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS)
    sink = spool.begin(facts())
    spool.close()
    with pytest.raises(SpoolBroken, match="closed"):
        sink.commit()


def test_changed_segment_length_is_obeyed_by_the_next_segment(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        first = store(spool, 3000)
    larger = replace(SMALL_SEGMENTS, segment_bytes=256 * 1024, object_in_memory_bytes_max=60_000)
    with Spool.open(tmp_path / "spool", "north", larger) as spool:
        sent = [first, *(store(spool, 50_000) for _ in range(8))]
        found = contents(tmp_path / "spool")
    assert found.deliveries == {d.delivery_id: d for d in sent}
