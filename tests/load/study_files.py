"""Small templates of every kind, and what one reads back from them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread

from load.studies import KINDS, Identity, Size, Template, templates, write_part10

SMALL = Size(rows=64, columns=48, frames=3)
IMAGE_KINDS = tuple(name for name, kind in KINDS.items() if kind.is_image)
MULTI_FRAME_KINDS = tuple(name for name in IMAGE_KINDS if KINDS[name].size.frames > 1)
SOMEBODY = Identity(seed=11, study=22, series=3, instance=4444)


def small_template(kind: str, compression: str, cache: Path) -> Template:
    frames = SMALL.frames if kind in MULTI_FRAME_KINDS else 1
    size = Size(SMALL.rows, SMALL.columns, frames) if KINDS[kind].is_image else None
    return templates(kind, compression, cache=cache, size=size)


def read_back(template: Template, identity: Identity, directory: Path) -> Dataset:
    path = directory / f"{template.kind}.dcm"
    write_part10(path, template, identity)
    return dcmread(BytesIO(path.read_bytes()))


def elements(data_set: Dataset) -> int:
    return sum(1 for _ in data_set.iterall())


def assert_is(data_set: Dataset, identity: Identity) -> None:
    assert data_set.SOPInstanceUID == identity.sop_instance_uid
    assert data_set.SeriesInstanceUID == identity.series_instance_uid
    assert data_set.StudyInstanceUID == identity.study_instance_uid
    assert data_set.AccessionNumber == identity.accession_number
    assert data_set.PatientID == identity.patient_id
    assert data_set.InstanceNumber == identity.instance + 1
