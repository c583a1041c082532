"""The pack format: bytes that may never drift, readable by any tar and by pydicom."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info

from consumers.part10 import part10_head
from contracts import packs, ustar
from contracts.events import Area, InstanceReceived, PackArchived
from contracts.example_catalog import examples_of
from contracts.failures import PoisonError, Reason
from contracts.identity import ContentKey, is_sha256
from contracts.pack_reading import (
    PackFormatError,
    parse_locator,
    parse_manifest,
    read_pack,
)
from contracts.pack_records import collected_key, parse_record, record_bytes
from contracts.packs import LOCATOR_TAIL_BYTES, Pack, PackAssembly, object_key

# Two members' pack. Another value means that the format drifted: every retry of a batch that
# began before an upgrade would then store its pack a second time.
GOLDEN_SHA256 = "e57d611ba8476b57076afd02ee8e2961ea69c1bb996f74daabc5212abf50b983"


def data_set(number: int) -> bytes:
    """A minimal data set in Explicit VR Little Endian, different for each number."""
    element = b"\x10\x00\x20\x00LO\x08\x00" + b"SYN%05d" % number
    pixels = bytes((number + i) % 256 for i in range(600))
    return element + b"\xe0\x7f\x10\x00OB\x00\x00" + len(pixels).to_bytes(4, "little") + pixels


def event_for(number: int, data: bytes) -> InstanceReceived:
    """A synthetic event whose content is `data`."""
    return InstanceReceived(
        content=ContentKey(
            "2.25.1", "2.25.2", f"2.25.3.{number}", hashlib.sha256(data).hexdigest()
        ),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        delivery_id=f"01980000-0000-7000-8000-{number:012d}",
        site="north",
        gateway_id="01980000-0000-7000-8000-aaaaaaaaaaaa",
        association_id="01980000-0000-7000-8000-bbbbbbbbbbbb",
        calling_ae_title="CT1",
        called_ae_title="NORTH",
        peer_address="127.0.0.1",
        peer_implementation_class_uid="2.25.4",
        peer_implementation_version_name="SYNTHETIC",
        received_at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
        size_bytes=len(data),
        header='{"00100020":{"vr":"LO","Value":["SYN"]}}',
        header_complete=True,
        header_reason=None,
        header_key_id=None,
        scanner_version=1,
        quarantine_reason=None,
        published_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        payload_partition=3,
        payload_offsets=(7, 9),
    )


def build(count: int, below: str | None = None) -> tuple[bytes, Pack]:
    """Bytes and identity of a finished pack."""
    file = io.BytesIO()
    assembly = PackAssembly(file)
    for number in range(count):
        data = data_set(number)
        event = event_for(number, data)
        assembly.add(event, part10_head(event), iter([data]))
    pack = assembly.finish(below)
    return file.getvalue(), pack


def test_a_pack_below_a_key_is_the_same_each_time_and_read_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    below = "00f" + "0" * 61
    data, pack = build(3, below)
    assert hashlib.sha256(data).hexdigest() == pack.object_sha256 < below
    assert build(3, below) == (data, pack)
    contents = read_pack(lambda offset, length: data[offset : offset + length], len(data))
    assert contents.members == pack.members == build(3)[1].members
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getmembers()) == 5
    monkeypatch.setattr(packs, "SALTS_MAX", 1_000)
    with pytest.raises(packs.NoKeyBelowError):
        build(3, "0" * 64)


def test_only_a_pack_has_a_record_of_its_collection() -> None:
    assert collected_key(object_key(Area.PACKS, "ab" * 32)) == (
        f"collected/packs/ab/{'ab' * 32}.avro"
    )
    for other in ("proofs/north/roots/1.json", f"packs/aa/{'ab' * 32}.tar", "packs/ab/x.tar", ""):
        with pytest.raises(ValueError, match="no key of a pack"):
            collected_key(other)


def test_a_record_gives_the_event_back_and_nothing_else() -> None:
    for event in examples_of(PackArchived):
        if not is_sha256(event.object_sha256):
            continue
        event = replace(event, object_key=object_key(event.area, event.object_sha256))
        data, key = record_bytes(event), collected_key(event.object_key)
        assert record_bytes(event) == data and parse_record(data, key) == event
        for damaged in (b"", data[:-1], data[: len(data) // 2], b"x" + data):
            with pytest.raises(PackFormatError):
                parse_record(damaged, key)
        with pytest.raises(PackFormatError, match="another"):
            parse_record(data, collected_key(object_key(event.area, "ab" * 32)))


def test_bytes_of_a_small_pack_are_the_format() -> None:
    data, pack = build(2)
    assert hashlib.sha256(data).hexdigest() == pack.object_sha256 == GOLDEN_SHA256


def test_how_the_bytes_arrive_does_not_matter() -> None:
    file = io.BytesIO()
    assembly = PackAssembly(file)
    for number in range(2):
        data = data_set(number)
        event = event_for(number, data)
        assembly.add(event, part10_head(event), (data[i : i + 7] for i in range(0, len(data), 7)))
    assert assembly.finish() == build(2)[1]


def test_the_payload_place_is_no_part_of_the_pack() -> None:
    file = io.BytesIO()
    assembly = PackAssembly(file)
    for number in range(2):
        data = data_set(number)
        event = replace(event_for(number, data), payload_partition=5, payload_offsets=(1,))
        assembly.add(event, part10_head(event), [data])
    assert assembly.finish() == build(2)[1]


def test_python_tar_and_pydicom_read_every_member() -> None:
    data, pack = build(3)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        infos = tar.getmembers()
        assert [info.name for info in infos][-2:] == ["manifest.avro", "locator"]
        assert {(i.mode, i.uid, i.gid, i.uname) for i in infos} == {(0o644, 0, 0, "")}
        assert {info.mtime for info in infos} == {1767323045}
    for member, number in zip(pack.members, range(3), strict=True):
        part10 = data[member.offset_bytes : member.offset_bytes + member.length_bytes]
        assert part10.endswith(data_set(number))
        dataset = pydicom.dcmread(io.BytesIO(part10))
        assert dataset.PatientID == f"SYN{number:05d}"
        meta = dataset.file_meta
        assert meta.MediaStorageSOPInstanceUID == f"2.25.3.{number}"
        assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == (
            "CT1",
            "NORTH",
        )
        encoded = io.BytesIO()
        write_file_meta_info(DicomFileLike(encoded), meta, enforce_standard=True)
        assert part10[132:].startswith(encoded.getvalue())  # group length and padding as pydicom's


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar on this machine")
def test_gnu_tar_lists_and_extracts(tmp_path: Path) -> None:
    data, pack = build(2)
    archive = tmp_path / "pack.tar"
    archive.write_bytes(data)
    listing = subprocess.run(
        ["tar", "-tf", str(archive)], capture_output=True, text=True, check=True, timeout=200
    )
    assert listing.stderr == ""
    assert listing.stdout.split() == [
        *(member.delivery_id + ".dcm" for member in pack.members),
        "manifest.avro",
        "locator",
    ]
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tmp_path)], check=True, timeout=200)
    extracted = tmp_path / (pack.members[0].delivery_id + ".dcm")
    assert extracted.read_bytes().endswith(data_set(0))


def test_a_pack_is_read_by_ranges_alone() -> None:
    data, pack = build(5)
    contents = read_pack(lambda offset, length: data[offset : offset + length], len(data))
    assert contents.members == pack.members
    assert [event.delivery_id for event in contents.events] == [
        member.delivery_id for member in pack.members
    ]
    assert contents.events[0] == replace(
        event_for(0, data_set(0)), payload_partition=None, payload_offsets=None
    )
    locator = parse_locator(data[-LOCATOR_TAIL_BYTES:])
    end = locator.manifest_offset_bytes + locator.manifest_length_bytes
    assert parse_manifest(data[locator.manifest_offset_bytes : end], locator) == contents.events


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:50] + b"!" + data[51:],  # other bytes, same size
        lambda data: data[:-1],
        lambda data: data + b"more",
    ],
)
def test_a_member_that_is_not_what_was_hashed_leaves_no_trace(change: object) -> None:
    file = io.BytesIO()
    assembly = PackAssembly(file)
    first, broken, last = data_set(0), data_set(1), data_set(2)
    assembly.add(event_for(0, first), part10_head(event_for(0, first)), [first])
    event = event_for(1, broken)
    with pytest.raises(PoisonError) as refused:
        assembly.add(event, part10_head(event), [change(broken)])  # type: ignore[operator]
    assert refused.value.reason is Reason.CONTENT_MISMATCH
    assembly.add(event_for(2, last), part10_head(event_for(2, last)), [last])
    pack = assembly.finish()
    assert [member.delivery_id[-1] for member in pack.members] == ["0", "2"]
    assert hashlib.sha256(file.getvalue()).hexdigest() == pack.object_sha256


def test_a_source_that_fails_leaves_no_trace() -> None:
    def breaking() -> Iterator[bytes]:
        yield data_set(0)[:10]
        raise ConnectionError("gone")

    file = io.BytesIO()
    assembly = PackAssembly(file)
    event = event_for(0, data_set(0))
    with pytest.raises(ConnectionError):
        assembly.add(event, part10_head(event), breaking())
    assert file.getvalue() == b""


def test_more_than_ustar_holds_is_refused() -> None:
    assembly = PackAssembly(io.BytesIO())
    event = replace(event_for(0, b""), size_bytes=8 * 1024**3)
    with pytest.raises(PoisonError) as refused:
        assembly.add(event, part10_head(event), [])
    assert refused.value.reason is Reason.OVERSIZE


def test_keys_come_from_hashes() -> None:
    _, pack = build(1)
    sha = pack.object_sha256
    assert pack.key(Area.PACKS) == f"packs/{sha[:2]}/{sha}.tar"
    assert object_key(Area.QUARANTINE, sha) == f"quarantine/{sha[:2]}/{sha}.tar"


@given(st.binary(max_size=4096))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_pack_are_called_so(data: bytes) -> None:
    with pytest.raises(PackFormatError):
        read_pack(lambda offset, length: data[offset : offset + length], len(data))


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
@settings(max_examples=300, deadline=None)
def test_a_changed_header_manifest_or_locator_is_found(place: int, change: int) -> None:
    data, pack = build(2)
    covered = _places_outside_members(len(data), pack)
    at = covered[place % len(covered)]
    broken = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
    try:
        contents = read_pack(lambda offset, length: broken[offset : offset + length], len(data))
    except PackFormatError:
        return
    assert contents == read_pack(lambda offset, length: data[offset : offset + length], len(data))


def _places_outside_members(size: int, pack: Pack) -> list[int]:
    inside = {
        at
        for member in pack.members
        for at in range(member.offset_bytes, member.offset_bytes + member.length_bytes)
    }
    return [at for at in range(size) if at not in inside]


def test_a_header_is_python_tarfiles_own() -> None:
    info = tarfile.TarInfo("a.dcm")
    info.size, info.mtime = 1234, 99
    assert ustar.parse_header(info.tobuf(tarfile.USTAR_FORMAT)) == ustar.TarHeader("a.dcm", 1234)
