"""Full and broken disks: what is refused, what heals, and what never acknowledges again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.spool import (
    Spool,
    SpoolBroken,
    SpooledDelivery,
    SpoolFull,
    SpoolLimits,
    SpoolReader,
    SpoolReleaser,
    spool_usage,
)
from tests.edge_gateway.spool.seams import FailingFileSystem, QuotaFileSystem, no_rule
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    await_segment_ahead,
    contents,
    eventually,
    facts,
    opened,
    receipt,
    store,
)


def test_full_disk_refuses_keeps_what_was_acknowledged_and_heals(tmp_path: Path) -> None:
    fs = QuotaFileSystem(5 * 64 * 1024)
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs) as spool:
        spool.association_opened(opened())
        sent = _store_until_full(spool)
        assert sent
        assert spool.broken is None
        # A receipt is a fact already: it waits for room instead of being refused.
        spool.append_receipt(receipt(sent[-1]))
        eventually(lambda: not spool.admission().accepting, "the full disk is noticed")
        assert spool_usage(tmp_path / "spool").objects == 0
        fs.room_bytes += 4 * 64 * 1024
        eventually(lambda: spool.admission().accepting, "room is noticed")
        sent.append(store(spool, 6000))
        eventually(lambda: bool(contents(tmp_path / "spool").receipts), "the receipt is kept")
        found = contents(tmp_path / "spool")
    assert found.deliveries == {d.delivery_id: d for d in sent}
    assert [r.delivery_id for r in found.receipts] == [sent[-2].delivery_id]


def _store_until_full(spool: Spool) -> list[SpooledDelivery]:
    sent: list[SpooledDelivery] = []
    try:
        while True:
            sent.append(store(spool, 6000))
    except SpoolFull:
        return sent


def test_full_disk_while_streaming_leaves_no_file(tmp_path: Path) -> None:
    fs = QuotaFileSystem(4 * 64 * 1024)
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs) as spool:
        await_segment_ahead(spool)
        sink = spool.begin(facts())
        with pytest.raises(SpoolFull):
            while True:
                sink.write(bytes(20_000))
        assert spool_usage(tmp_path / "spool").objects == 0
        assert spool.statistics().memory_bytes == 0
        assert spool.broken is None
        store(spool, 1000)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EDQUOT, errno.ENFILE])
def test_lack_of_descriptors_or_quota_is_no_broken_disk(tmp_path: Path, code: int) -> None:
    fs = FailingFileSystem()
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs) as spool:
        fs.rule = lambda operation, path: code if path.name.endswith(".part") else None
        with pytest.raises(SpoolFull):
            store(spool, 100_000)
        store(spool, 100)
        fs.rule = no_rule
        store(spool, 100_000)
        assert spool.broken is None


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
@pytest.mark.parametrize("operation", ["write", "flush"])
def test_disk_error_stops_every_acknowledgement_for_good(
    tmp_path: Path, code: int, operation: str
) -> None:
    fs = FailingFileSystem()
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs)
    before = store(spool, 100)
    await_segment_ahead(spool)
    fs.rule = lambda asked, path: code if asked == operation else None
    with pytest.raises(SpoolBroken):
        store(spool, 100)
    fs.rule = no_rule
    _assert_broken(spool)
    spool.close()
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as again:
        after = store(again, 100)
        found = contents(tmp_path / "spool")
    assert {before.delivery_id, after.delivery_id} <= set(found.deliveries)
    assert not found.rotten


def test_failed_flush_is_for_good_whatever_it_said(tmp_path: Path) -> None:
    fs = FailingFileSystem()
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs)
    await_segment_ahead(spool)
    fs.rule = lambda asked, path: errno.ENOSPC if asked == "flush" else None
    with pytest.raises(SpoolBroken):
        store(spool, 100)
    fs.rule = no_rule
    _assert_broken(spool)
    spool.close()


@pytest.mark.parametrize("operation", ["create", "write", "flush"])
def test_disk_error_on_an_object_breaks_the_spool(tmp_path: Path, operation: str) -> None:
    fs = FailingFileSystem()
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs)
    fs.rule = lambda asked, path: (
        errno.EIO if asked == operation and path.name.endswith(".part") else None
    )
    with pytest.raises(SpoolBroken):
        store(spool, 100_000)
    _assert_broken(spool)
    spool.close()


def test_disk_error_while_laying_out_a_segment_is_told(tmp_path: Path) -> None:
    fs = FailingFileSystem()
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs)
    await_segment_ahead(spool)
    fs.rule = lambda asked, path: errno.EIO if path.parent.name == "free" else None
    with pytest.raises(SpoolBroken):
        for _ in range(100):
            store(spool, 6000)
    _assert_broken(spool)
    spool.close()


def _assert_broken(spool: Spool) -> None:
    assert spool.broken is not None
    admission = spool.admission()
    assert not admission.accepting
    assert admission.reason.startswith("spool broken")
    with pytest.raises(SpoolBroken):
        spool.begin(facts())
    with pytest.raises(SpoolBroken):
        spool.association_opened(opened())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here; the quota seam covers the rule")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_real_full_disk_with_default_watermarks(small_disk: Path) -> None:
    limits = SpoolLimits(
        segment_bytes=1 << 20, object_in_memory_bytes_max=64 * 1024, memory_bytes_max=1 << 20
    )
    directory = small_disk / "spool"
    with Spool.open(directory, "north", limits) as spool:
        assert 7 << 20 < spool.spool_bytes_max <= 8 << 20
        sent = []
        while spool.admission().accepting:
            sent.append(store(spool, 50_000))
        other = small_disk / "other"
        with pytest.raises(OSError, match="No space"):
            other.write_bytes(bytes(16 << 20))
        sent += _store_until_full(spool)
        released = _release_all_sealed(directory)
        other.unlink()
        eventually(lambda: spool.admission().accepting, "room is noticed")
        sent.append(store(spool, 50_000))
        found = contents(directory)
    assert set(found.deliveries) == {d.delivery_id for d in sent} - released
    assert not found.rotten | found.gone


def _release_all_sealed(directory: Path) -> set[str]:
    """Takes all that lies in sealed segments for archived and purged, as the forwarder would."""
    reader = SpoolReader(directory)
    records = reader.poll(100_000)
    live = reader.position.segment_number
    reader.close()
    with SpoolReleaser(directory) as releaser:
        for number in {r.location.segment_number for r in records} - {live}:
            releaser.release_segment(number)
    return {
        r.entry.delivery_id
        for r in records
        if isinstance(r.entry, SpooledDelivery) and r.location.segment_number != live
    }
