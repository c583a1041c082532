"""The mirror's directory: the same spool, held in the same places, whatever happened to either."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from edge_gateway.mirror.follower import Follower
from edge_gateway.spool import (
    Spool,
    SpoolBroken,
    SpooledDelivery,
    SpoolFull,
    SpoolMismatch,
    SpoolReader,
    SpoolReleaser,
)
from tests.edge_gateway.mirror.mirrored import (
    EXTERNAL_BYTES,
    INLINE_BYTES,
    Mirrored,
    catch_up,
    held,
    mirrored,
)
from tests.edge_gateway.spool.seams import FailingFileSystem
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, contents, drain, eventually, flip

# More than one segment of 64 KiB holds.
MANY = (INLINE_BYTES,) * 40


def in_mirror(site: Mirrored) -> set[str]:
    """What a forwarder finds there, every byte verified."""
    found = contents(site.second)
    assert not found.damaged and not found.rotten
    return set(found.deliveries) - found.gone


def all_of(site: Mirrored) -> set[str]:
    return {each.delivery_id for each in site.stored}


def test_everything_durable_is_copied_and_only_that_is_held(tmp_path: Path) -> None:
    with mirrored(tmp_path) as site, site.following() as follower:
        site.store(INLINE_BYTES, EXTERNAL_BYTES, *MANY)
        assert not any(held(follower, site.stored)) and not follower.is_whole()
        catch_up(follower)
        assert all(held(follower, site.stored)) and follower.is_whole()
        assert not follower.holds(site.stored[0].delivery_id, "0" * 64)
        site.answer(*site.stored)
        eventually(lambda: not follower.step() and not any(held(follower, site.stored)), "told")
    assert in_mirror(site) == all_of(site)
    first, second = contents(site.first), contents(site.second)
    assert (first.receipts, first.opened, first.closed) == (
        second.receipts,
        second.opened,
        second.closed,
    )
    # What a start of the gateway would find, were this its only directory.
    with Spool.open(site.second, "north", SMALL_SEGMENTS) as spool:
        assert spool.identity == site.spool.identity and not spool.recovery.damaged


def test_a_new_start_goes_on_where_the_last_one_was_killed_and_holds_what_waits(
    tmp_path: Path,
) -> None:
    with mirrored(tmp_path) as site:
        with site.following() as follower:
            site.store(*MANY, EXTERNAL_BYTES)
            catch_up(follower)
        waiting = site.stored[-1:]
        with site.following() as follower:
            assert held(follower, waiting) == [True]
            copied = site.store(INLINE_BYTES)
            catch_up(follower)
            assert follower.records == len(copied)
    assert in_mirror(site) == all_of(site)


def test_a_failed_flush_confirms_nothing_and_the_next_opening_goes_on(tmp_path: Path) -> None:
    fs = FailingFileSystem()
    with mirrored(tmp_path) as site:
        with site.following(fs) as follower:
            site.store(INLINE_BYTES)
            catch_up(follower)
            late = site.store(INLINE_BYTES, EXTERNAL_BYTES)
            fs.rule = lambda what, path: errno.EIO if what == "flush" else None
            with pytest.raises(SpoolBroken):
                catch_up(follower)
            assert not any(held(follower, late)) and not follower.is_whole()
        fs.rule = lambda what, path: None
        with site.following(fs) as follower:
            catch_up(follower)
            assert all(held(follower, late))
    assert in_mirror(site) == all_of(site)


def test_a_full_mirror_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    fs = FailingFileSystem()
    with mirrored(tmp_path) as site, site.following(fs) as follower:
        fs.rule = lambda what, path: errno.ENOSPC if what in ("write", "create") else None
        site.store(INLINE_BYTES, EXTERNAL_BYTES)
        for _ in range(3):
            with pytest.raises(SpoolFull):
                follower.step()
        assert not any(held(follower, site.stored))
        fs.rule = lambda what, path: None
        catch_up(follower)
        assert all(held(follower, site.stored))
    assert in_mirror(site) == all_of(site)


def test_a_deleted_mirror_takes_nothing_for_copied_and_is_made_anew(tmp_path: Path) -> None:
    with mirrored(tmp_path) as site:
        with site.following() as follower:
            site.store(*MANY, EXTERNAL_BYTES)
            catch_up(follower)
            shutil.rmtree(site.second)
            late = site.store(INLINE_BYTES)
            with pytest.raises(SpoolBroken, match="is gone"):
                catch_up(follower)
            assert not any(held(follower, late))
        with site.following() as follower:
            catch_up(follower)
            assert all(held(follower, late))
    assert in_mirror(site) == all_of(site)


def test_a_deleted_first_spool_leaves_the_mirror_as_it_is(tmp_path: Path) -> None:
    with mirrored(tmp_path) as site:
        with site.following() as follower:
            site.store(*MANY, EXTERNAL_BYTES)
            catch_up(follower)
            shutil.rmtree(site.first)
            site.first.mkdir()
            assert not follower.step() and not follower.is_whole()
        with site.following() as follower:
            assert not follower.step() and not follower.is_whole()
        assert in_mirror(site) == all_of(site)
        shutil.rmtree(site.first)
        shutil.copytree(site.second, site.first)


def test_a_rotten_record_is_told_and_not_held_and_the_others_are(tmp_path: Path) -> None:
    with mirrored(tmp_path) as site:
        site.store(*(INLINE_BYTES,) * 4)
        (record,) = [
            each
            for each in drain(SpoolReader(site.first))
            if isinstance(each.entry, SpooledDelivery)
            and each.entry.delivery_id == site.stored[1].delivery_id
        ]
        flip(site.first, record.following.offset_bytes - 1000)
        with site.following() as follower:
            catch_up(follower)
            assert held(follower, site.stored) == [True, False, True, True]
            assert follower.damaged == 1 and follower.is_whole()
        assert contents(site.second).rotten == {site.stored[1].delivery_id}


def release(directory: Path, *, keep: SpooledDelivery | None = None) -> None:
    """All sealed segments, the bytes of `keep` copied forward; the rest is purged."""
    reader = SpoolReader(directory)
    records = [each for each in drain(reader) if isinstance(each.entry, SpooledDelivery)]
    live = reader.position.segment_number
    reader.close()
    with SpoolReleaser(directory) as releaser:
        for record in records:
            assert isinstance(record.entry, SpooledDelivery)
            if record.location.segment_number == live:
                continue
            if keep is not None and record.entry.delivery_id == keep.delivery_id:
                releaser.copy_forward(record.entry, record.location)
            else:
                releaser.purge(record.entry.delivery_id)
        for number in sorted({record.location.segment_number for record in records} - {live}):
            releaser.release_segment(number)


def test_what_was_released_meanwhile_is_not_missed_and_what_was_saved_is_brought(
    tmp_path: Path,
) -> None:
    with mirrored(tmp_path) as site:
        with site.following() as follower:
            site.store(INLINE_BYTES)
            catch_up(follower)
        stuck = site.store(EXTERNAL_BYTES)[0]
        site.store(*MANY, *MANY)
        release(site.first, keep=stuck)
        with site.following() as follower:
            assert stuck.delivery_id in SpoolReader(site.second).remnant_ids()
            catch_up(follower)
            assert follower.is_whole()
        first, second = set(contents(site.first).deliveries), in_mirror(site)
        assert stuck.delivery_id in first and first <= second
        # Its own forwarder gives the room back, and the segments are filled again.
        release(site.second)
        with site.following() as follower:
            site.store(*MANY)
            catch_up(follower)
        assert all_of(site) >= in_mirror(site) >= {each.delivery_id for each in site.stored[-20:]}


def test_a_segment_that_is_released_while_it_is_copied_ends_there(tmp_path: Path) -> None:
    with mirrored(tmp_path) as site, site.following() as follower:
        site.store(*(EXTERNAL_BYTES,) * 30, *MANY)
        assert follower.step() and follower.step()
        release(site.first)
        release(site.first)
        late = site.store(*MANY)
        release(site.first)
        catch_up(follower)
        assert follower.is_whole() and held(follower, late[-1:]) == [True]
    found = contents(site.second)
    assert not found.damaged and not found.rotten


def test_another_life_of_the_same_segment_is_never_written_over_the_mirror(
    tmp_path: Path,
) -> None:
    with mirrored(tmp_path / "a") as site, mirrored(tmp_path / "b") as other:
        site.store(INLINE_BYTES)
        other.store(INLINE_BYTES)
        with site.following() as follower:
            catch_up(follower)
        with site.following() as follower:
            strange = Follower(other.first, follower._mirror)
            with pytest.raises(SpoolMismatch):
                strange.step()
            strange.close()
        assert in_mirror(site) == all_of(site)
