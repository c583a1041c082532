"""Synthetic studies: valid for their SOP class, stamped as any instance, read by pydicom."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian

from contracts.failures import FatalError
from load.studies import (
    KINDS,
    Identity,
    Place,
    Size,
    Template,
    renew_part10,
    stamp,
    stamp_into,
    stamp_parts,
    templates,
    write_part10,
)
from load.studies.identity import INSTANCE_MAX, SEED_MAX, SERIES_MAX, STUDY_MAX
from load.studies.making import encode
from load.studies.validity import validity
from operations.synthetic import CtStudy
from tests.load.study_files import (
    IMAGE_KINDS,
    MULTI_FRAME_KINDS,
    SMALL,
    SOMEBODY,
    assert_is,
    elements,
    read_back,
    small_template,
)

NUMBERS = st.builds(
    Identity,
    st.integers(0, SEED_MAX),
    st.integers(0, STUDY_MAX),
    st.integers(0, SERIES_MAX),
    st.integers(0, INSTANCE_MAX),
)
LARGEST = Identity(SEED_MAX, STUDY_MAX, SERIES_MAX, INSTANCE_MAX)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


def assert_valid(path: Path) -> None:
    said = validity(path, str(ExplicitVRLittleEndian))
    if said.not_checked:
        pytest.skip(said.not_checked)
    assert said.errors == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_valid_for_its_sop_class(kind: str, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "instance.dcm"
    write_part10(path, small_template(kind, "none", cache), SOMEBODY)
    assert_valid(path)


def test_the_sample_study_of_send_is_valid(tmp_path: Path) -> None:
    for path in CtStudy(slices=2, rows=32).write(tmp_path):
        assert_valid(path)


def test_validity_finds_what_is_missing(tmp_path: Path) -> None:
    path = CtStudy(slices=1, rows=32).write(tmp_path)[0]
    data_set = dcmread(path)
    del data_set.ImageType
    data_set.save_as(path)
    said = validity(path, str(ExplicitVRLittleEndian))
    if said.not_checked:
        pytest.skip(said.not_checked)
    assert any("ImageType" in error for error in said.errors)


@pytest.mark.parametrize("kind", KINDS)
def test_pydicom_reads_a_stamped_instance(kind: str, cache: Path, tmp_path: Path) -> None:
    template = small_template(kind, "none", cache)
    data_set = read_back(template, SOMEBODY, tmp_path)
    assert_is(data_set, SOMEBODY)
    assert data_set.file_meta.MediaStorageSOPInstanceUID == SOMEBODY.sop_instance_uid
    assert data_set.SOPClassUID == template.sop_class_uid == KINDS[kind].sop_class_uid
    assert data_set.Modality == template.modality == KINDS[kind].modality
    assert data_set.PatientName == "Synthetic^Patient"
    if KINDS[kind].is_image:
        frames = SMALL.frames if kind in MULTI_FRAME_KINDS else 1
        assert data_set.pixel_array.size == SMALL.rows * SMALL.columns * frames * (
            KINDS[kind].samples
        )


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_a_header_is_as_rich_as_a_real_one(kind: str, cache: Path, tmp_path: Path) -> None:
    count = elements(read_back(small_template(kind, "none", cache), SOMEBODY, tmp_path))
    assert count == 260 or (kind in ("tomo", "enhanced-ct") and count >= 260)


def test_sizes_of_the_measured_objects(cache: Path) -> None:
    whole, small = templates("ct", cache=cache), templates("ct-small", cache=cache)
    pixels = 512 * 512 * 2
    assert pixels < len(whole.data_set) < pixels + 8192
    assert 6_000 < len(small.data_set) < 9_000


@pytest.mark.parametrize("identity", [Identity(0, 0, 0, 0), SOMEBODY, LARGEST])
@pytest.mark.parametrize("kind", ["ct-small", "ko", "rtstruct"])
def test_stamp_writes_what_pydicom_would_write(
    kind: str, identity: Identity, cache: Path, tmp_path: Path
) -> None:
    template = small_template(kind, "none", cache)
    stamped = stamp(template, identity)
    read = read_back(template, identity, tmp_path)
    assert_is(read, identity)
    del read.file_meta
    again = encode(_padded(read, identity))
    assert again == bytes(stamped)
    head, tail = stamp_parts(template, identity)
    assert bytes(head) + bytes(tail) == bytes(stamped)
    buffer = bytearray(stamp(template, SOMEBODY))
    stamp_into(memoryview(buffer), template, identity)
    assert buffer == stamped


def _padded(data_set: Dataset, identity: Identity) -> Dataset:
    """pydicom strips the padding of numbers on reading: put it back, as raw text."""
    padded = Dataset()
    for element in data_set:
        padded.add(element)
    padded.add_new("InstanceNumber", "LO", identity.instance_number)
    padded["InstanceNumber"].VR = "IS"
    if "SliceLocation" in data_set:
        location = identity.slice_location
        padded.add_new("SliceLocation", "LO", location)
        padded["SliceLocation"].VR = "DS"
        padded.add_new("ImagePositionPatient", "LO", ["-180", "-180", location])
        padded["ImagePositionPatient"].VR = "DS"
    return padded


def test_documents_name_their_own_study(cache: Path, tmp_path: Path) -> None:
    keys = read_back(small_template("ko", "none", cache), SOMEBODY, tmp_path)
    evidence = keys.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == SOMEBODY.study_instance_uid
    structures = read_back(small_template("rtstruct", "none", cache), SOMEBODY, tmp_path)
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    referenced = frame.RTReferencedStudySequence[0].ReferencedSOPInstanceUID
    assert referenced == SOMEBODY.study_instance_uid


@given(NUMBERS, NUMBERS)
def test_other_numbers_are_other_uids(one: Identity, other: Identity) -> None:
    uids = [(i.sop_instance_uid, i.series_instance_uid, i.study_instance_uid) for i in (one, other)]
    for uid in (*uids[0], *uids[1]):
        assert UID(uid).is_valid and len(uid) <= 64
    assert len(set(uids[0])) == 3
    assert (uids[0][0] == uids[1][0]) == (one == other)
    same_study = (one.seed, one.study) == (other.seed, other.study)
    assert (uids[0][2] == uids[1][2]) == same_study
    assert (one.accession_number == other.accession_number) == same_study


@given(NUMBERS)
def test_values_have_one_width(identity: Identity) -> None:
    for place in Place:
        assert len(identity.value(place)) == len(LARGEST.value(place))


def test_slices_lie_behind_one_another(cache: Path, tmp_path: Path) -> None:
    template = small_template("ct", "none", cache)
    places = [
        read_back(template, Identity(1, 0, 0, number), tmp_path).ImagePositionPatient[2]
        for number in range(3)
    ]
    assert places == [0, -0.5, -1]


@pytest.mark.parametrize("kind", ["ct-small", "tomo", "sr"])
def test_a_file_becomes_another_instance_in_place(kind: str, cache: Path, tmp_path: Path) -> None:
    template = small_template(kind, "none", cache)
    path, fresh = tmp_path / "renewed.dcm", tmp_path / "fresh.dcm"
    write_part10(path, template, SOMEBODY)
    for identity in (Identity(0, 0, 0, 0), LARGEST):
        renew_part10(path, identity)
        write_part10(fresh, template, identity)
        assert path.read_bytes() == fresh.read_bytes()


def test_a_file_of_another_writer_is_not_renewed(tmp_path: Path) -> None:
    path = CtStudy(slices=1, rows=16).write(tmp_path)[0]
    before = path.read_bytes()
    with pytest.raises(FatalError, match="not a file of this generator"):
        renew_part10(path, SOMEBODY)
    (tmp_path / "text").write_text("no DICOM")
    with pytest.raises(FatalError):
        renew_part10(tmp_path / "text", SOMEBODY)
    assert path.read_bytes() == before


def test_unknown_names_are_answered_with_the_nearest(cache: Path) -> None:
    with pytest.raises(FatalError, match="did you mean 'enhanced-ct'"):
        templates("enhanced_ct", cache=cache)
    with pytest.raises(FatalError, match="did you mean 'htj2k'"):
        templates("ct", "htj2", cache=cache)
    with pytest.raises(FatalError, match="no compression of sr 'j2k'"):
        templates("sr", "j2k", cache=cache)
    with pytest.raises(FatalError, match="are no size"):
        templates("tomo", cache=cache, size=Size(frames=1000))
    with pytest.raises(FatalError, match="outside"):
        Identity(1, 0, SERIES_MAX + 1, 0)


def test_the_same_order_gives_the_same_bytes(tmp_path: Path) -> None:
    made = [_made(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert made[0] == made[1]
    assert made[0].data_set != made[2].data_set


def _made(cache: Path, seed: int) -> Template:
    return templates("ct-small", cache=cache, seed=seed)


def test_a_broken_cache_is_made_anew(tmp_path: Path) -> None:
    before = templates("ct-small", cache=tmp_path).data_set
    path = next(tmp_path.glob("*.template"))
    path.write_bytes(path.read_bytes()[:-100])
    assert templates("ct-small", cache=tmp_path).data_set == before
    assert not list(tmp_path.glob(".making-*"))
