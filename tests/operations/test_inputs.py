"""Folders, media and archives as people hand them over: each file ends once, by name."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread

from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from operations.answers import write_json
from operations.context import Context
from operations.inputs import End, Found, InputFile, InputProblem, collect
from operations.render import show_sent
from operations.send import SendReport, SendRequest, send
from operations.synthetic import CtStudy
from tests.edge_gateway.running_gateway import AE_TITLE, RunningGateway, running_gateway

MEDIUM = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    place = tmp_path / "scratch"
    place.mkdir()
    return place


def study(folder: Path, slices: int = 1, seed: int = 1) -> list[Path]:
    return CtStudy(slices, rows=16, seed=seed).write(folder)


def found_in(*paths: Path, scratch: Path) -> list[Found]:
    return list(collect(paths, scratch))


def ends(found: list[Found]) -> dict[End, int]:
    kinds = [one.end for one in found if isinstance(one, InputProblem)]
    return {end: kinds.count(end) for end in kinds}


def files(found: list[Found]) -> list[InputFile]:
    return [one for one in found if isinstance(one, InputFile)]


def sent_to(gateway: RunningGateway, *paths: Path, quarantine: Path | None = None) -> SendReport:
    to = f"{AE_TITLE}@127.0.0.1:{gateway.port}"
    request = SendRequest(paths, to, "TESTER", quarantine=quarantine)
    return send(Context(Path("nowhere"), 0, None, True), request)


def test_a_loop_of_links_ends_and_every_file_is_read_once(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "in"
    first, _ = study(folder / "deep", 2)
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "again.dcm").symlink_to(first)
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe")
    found = found_in(folder, folder, scratch=scratch)
    assert len(files(found)) == 2
    # The link up, the link to the slice, and the folder that was named twice.
    assert ends(found) == {End.REPEATED: 3, End.UNREADABLE: 2}


def test_a_medium_without_regard_to_case_and_what_it_lacks_is_named(
    tmp_path: Path, scratch: Path
) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(MEDIUM, medium)
    for place in medium.glob("DICOMDIR-*"):
        place.unlink()
    shutil.rmtree(medium / "TINY_ALPHA")
    (medium / "77654033").rename(medium / "77654033.tmp")
    (medium / "77654033.tmp").rename(medium / "77654033.;1")
    gone = next(path for path in sorted((medium / "98892001").rglob("*")) if path.is_file())
    gone.unlink()
    (medium / "DICOMDIR").rename(medium / "dicomdir.;1")
    listed = found_in(medium / "dicomdir.;1", scratch=scratch)
    walked = found_in(medium, scratch=scratch)
    assert len(files(listed)) == 30 and ends(listed) == {End.MISSING: 1, End.MEDIA_DIRECTORY: 1}
    assert ends(walked) == {End.MISSING: 1, End.MEDIA_DIRECTORY: 1}
    assert {one.path for one in files(listed)} <= {one.path for one in files(walked)}
    missing = next(one for one in walked if isinstance(one, InputProblem))
    assert missing.name == str(gone)


def test_a_reference_never_leads_out_of_the_medium(tmp_path: Path, scratch: Path) -> None:
    study(tmp_path / "secret")
    folder = tmp_path / "medium"
    folder.mkdir()
    directory = dcmread(MEDIUM / "DICOMDIR")
    named = [one for one in directory.DirectoryRecordSequence if "ReferencedFileID" in one]
    named[0].ReferencedFileID = ["..", "secret", "0001.dcm"]
    named[1].ReferencedFileID = str(tmp_path / "secret" / "0001.dcm")
    directory.DirectoryRecordSequence = named[:2]
    directory.save_as(folder / "DICOMDIR")
    found = found_in(folder / "DICOMDIR", scratch=scratch)
    assert not files(found) and ends(found) == {End.MISSING: 2, End.MEDIA_DIRECTORY: 1}


def test_a_damaged_media_directory_is_named_and_the_folder_is_read(
    tmp_path: Path, scratch: Path
) -> None:
    study(tmp_path / "in")
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    found = found_in(tmp_path / "in", scratch=scratch)
    assert len(files(found)) == 1 and ends(found) == {End.DAMAGED: 1}


def test_archives_inside_archives_and_entries_that_cannot_be_unpacked(
    tmp_path: Path, scratch: Path
) -> None:
    first, second = study(tmp_path / "in", 2)
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(first, "../../a.dcm")
        archive.write(second, "broken.dcm")
        place = archive.infolist()[1].header_offset + 60
    body = bytearray(inner.read_bytes())
    body[place : place + 50] = b"\xff" * 50
    inner.write_bytes(body)
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "inner.zip")
        archive.writestr("empty", b"")
    found = found_in(outer, scratch=scratch)
    assert [one.name.split("!")[1:] for one in files(found)] == [["inner.zip", "../../a.dcm"]]
    assert ends(found) == {End.DAMAGED: 1, End.EMPTY: 1}
    assert all(one.path.parent == scratch for one in files(found))


def test_without_group_2_the_first_element_tells_the_transfer_syntax(tmp_path: Path) -> None:
    [path] = study(tmp_path / "in")
    data_set = dcmread(path)
    for syntax, is_little, is_implicit in (
        ("1.2.840.10008.1.2", True, True),
        ("1.2.840.10008.1.2.1", True, False),
        ("1.2.840.10008.1.2.2", False, False),
    ):
        bare = tmp_path / syntax
        with bare.open("wb") as file:
            pydicom.dcmwrite(
                file, pydicom.Dataset(data_set), little_endian=is_little, implicit_vr=is_implicit
            )
        read = read_outgoing(bare)
        assert isinstance(read, OutgoingInstance)
        assert (read.transfer_syntax_uid, read.offset_bytes) == (syntax, 0)
        assert read.sop_instance_uid == data_set.SOPInstanceUID


def test_a_program_behind_an_image_is_a_finding_and_only_its_data_set_is_sent(
    tmp_path: Path,
) -> None:
    paths = study(tmp_path / "in", 5)
    for path, magic in zip(
        paths, (b"MZ", b"\x7fELF", b"#!/bin/sh\n", b"II*\0", b"PK\3\4"), strict=True
    ):
        body = path.read_bytes()
        path.write_bytes(magic.ljust(128, b"\x90") + body[128:])
    [clean] = study(tmp_path / "clean", seed=2)
    with running_gateway(tmp_path / "spool") as gateway:
        report = sent_to(gateway, tmp_path / "in", clean, quarantine=tmp_path / "quarantine")
        bodies = [body for _, body in gateway.deliveries()]
    assert report.ok and report.files == {"sent": 6}
    assert [Path(one.name).name for one in report.findings] == [path.name for path in paths]
    assert not any(b"\x90" * 64 in body for body in bodies)
    copies = list((tmp_path / "quarantine").iterdir())
    assert {copy.read_bytes() for copy in copies} == {path.read_bytes() for path in paths}
    assert all(copy.stat().st_mode & 0o777 == 0o400 for copy in copies)


def test_without_a_copy_in_the_quarantine_the_file_is_not_sent(tmp_path: Path) -> None:
    [path] = study(tmp_path / "in")
    path.write_bytes(b"MZ".ljust(128, b"\0") + path.read_bytes()[128:])
    (tmp_path / "file").touch()
    with running_gateway(tmp_path / "spool") as gateway:
        report = sent_to(gateway, path, quarantine=tmp_path / "file" / "quarantine")
        assert not gateway.deliveries()
    assert not report.ok and report.files == {"quarantine_failed": 1}


def test_every_file_of_a_mixed_folder_has_one_end(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(MEDIUM / "77654033", folder / "77654033")
    shutil.copy(MEDIUM / "DICOMDIR", folder / "renamed")
    first, *_ = study(folder / "ct", 3)
    (folder / "cut.dcm").write_bytes(first.read_bytes()[:200])
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "empty").touch()
    count = sum(path.is_file() for path in folder.rglob("*"))
    with running_gateway(tmp_path / "spool") as gateway:
        report = sent_to(gateway, folder)
    assert sum(report.files.values()) == count and not report.ok
    assert report.files.pop("sent") == report.acknowledged == count - 4
    assert report.files == {"empty": 1, "media_directory": 1, "not_dicom": 1, "truncated": 1}


def test_hostile_archives_and_media_are_named_and_stop_nothing(
    tmp_path: Path, scratch: Path
) -> None:
    """A broken LZMA stream, an entry without a name, folders alone, depth, and deflate."""
    folder = tmp_path / "in"
    study(folder / "ct")
    for name in ("lzma.zip", "nameless.zip", "folders.zip"):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_LZMA) as archive:
            if name == "folders.zip":
                archive.mkdir("a")
            else:
                archive.writestr("q", b"abc" * 99)
    broken = bytearray((folder / "lzma.zip").read_bytes())
    broken[40:60] = b"\xff" * 20
    (folder / "lzma.zip").write_bytes(broken)
    nameless = (folder / "nameless.zip").read_bytes().replace(b"q", b"\0")
    (folder / "nameless.zip").write_bytes(nameless)
    deep = b"\4\0\x20\x12SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 5000
    deflated = b"\2\0\x10\0UI\x16\0" + b"1.2.840.10008.1.2.1.99" + b"no deflate stream"
    for name, body in (("deep", deep), ("deflated", deflated)):
        (folder / name).mkdir()
        (folder / name / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + body)
    found = found_in(folder, scratch=scratch)
    assert ends(found) == {End.DAMAGED: 3, End.EMPTY: 1}
    assert len(files(found)) == 2


def test_names_that_are_no_text_or_look_like_markup_are_shown_and_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    first, second, third = study(folder, 3)
    first.rename(os.fsdecode(os.fsencode(folder) + b"/M\xfcller.dcm"))
    (folder / "a[").mkdir()
    second.rename(folder / "a[" / "red].dcm")
    third.write_bytes(b"MZ".ljust(128, b"\0") + third.read_bytes()[128:])
    third.rename(folder / ("\u753b" * 80 + ".dcm"))
    (folder / "a[" / "red]\x1b[2J").write_text("not DICOM")
    with running_gateway(tmp_path / "spool") as gateway:
        report = sent_to(gateway, folder, quarantine=tmp_path / "quarantine")
    assert report.files == {"not_dicom": 1, "sent": 3}
    write_json(report)
    show_sent(report)
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said and "a[/red]\\x1b[2J" in said
