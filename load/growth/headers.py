"""Header texts of synthetic instances: a short one to fill with, and one as rich as a real CT's.

Invariant: both are the DICOM JSON Model as a gateway's scan gives it, differing in length alone.
It must not be slow: the texts are made once and only their identities are written in.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TypeAlias

import orjson
from pydicom.dataset import Dataset

from contracts.identity import ContentKey
from load.growth.archive import Study
from operations.synthetic import CtStudy

# What stands in a text for what differs from instance to instance; no JSON text holds them.
_STUDY, _SERIES, _SOP, _NUMBER = "\x01", "\x02", "\x03", "\x04"
_ACCESSION, _PATIENT, _DATE, _MODALITY, _TITLE = "\x05", "\x06", "\x07", "\x0e", "\x0f"
_PLACES = re.compile("([\x01-\x07\x0e\x0f])")
_BULK_BYTES = 1_024
# What differs from slice to slice beside the identity: the position, and in one of twenty private
# elements a counter. Without it the headers of a study would compress better than real ones.
_BY_SLICE = ("00200032", "00201041", "00191000", "00191014", "00191028", "0019103C", "00191050")

# Texts and places by turns: joining them costs a tenth of str.translate.
_Text: TypeAlias = tuple[str, ...]


def short_header(study: Study, instance: int, content: ContentKey) -> str:
    """Some thirty elements: what the typed columns need, and a few more."""
    return _filled(_short_text(), study, instance, content)


def full_header(study: Study, instance: int, content: ContentKey) -> str:
    """The 260 elements of a real CT."""
    return _filled(_full_text(), study, instance, content)


def _filled(text: _Text, study: Study, instance: int, content: ContentKey) -> str:
    values = {
        _STUDY: study.study_instance_uid,
        _SERIES: content.series_instance_uid,
        _SOP: content.sop_instance_uid,
        _NUMBER: str(instance + 1),
        _ACCESSION: study.accession_number,
        _PATIENT: study.patient_id,
        _DATE: f"{study.study_date:%Y%m%d}",
        _MODALITY: study.kind.modality,
        _TITLE: study.kind.description,
    }
    return "".join([values.get(part, part) for part in text])


@cache
def _short_text() -> _Text:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    data_set.StudyTime = "101112"
    data_set.Manufacturer, data_set.StationName = "Hilum Synthetic", "SYN1"
    data_set.PatientBirthDate, data_set.PatientSex = "19700101", "O"
    data_set.BodyPartExamined, data_set.SeriesNumber = "CHEST", 1
    data_set.SeriesDescription = "Axial"
    data_set.Rows = data_set.Columns = 512
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    data_set.PixelRepresentation, data_set.SamplesPerPixel = 0, 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.ReferringPhysicianName, data_set.StudyID = "Nobody^Known", "1"
    return _text_of(data_set)


@cache
def _full_text() -> _Text:
    (data_set,) = CtStudy(slices=1, rows=32).data_sets()
    return _text_of(data_set)


def _text_of(data_set: Dataset) -> _Text:
    data_set.PixelData = bytes(_BULK_BYTES + 1)
    data_set["PixelData"].VR = "OW"
    model = data_set.to_json_dict(
        bulk_data_threshold=_BULK_BYTES,
        bulk_data_element_handler=lambda _: "sha256:?length=524288",
    )
    model |= {
        "00080018": {"vr": "UI", "Value": [_SOP]},
        "00080020": {"vr": "DA", "Value": [_DATE]},
        "00080050": {"vr": "SH", "Value": [_ACCESSION]},
        "00080060": {"vr": "CS", "Value": [_MODALITY]},
        "00081030": {"vr": "LO", "Value": [_TITLE]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"Synthetic^{_PATIENT}"}]},
        "00100020": {"vr": "LO", "Value": [_PATIENT]},
        "0020000D": {"vr": "UI", "Value": [_STUDY]},
        "0020000E": {"vr": "UI", "Value": [_SERIES]},
        "00200013": {"vr": "IS", "Value": [_NUMBER]},
    }
    for tag in _BY_SLICE:
        if tag in model:
            model[tag]["Value"] = [f"1{_NUMBER}5"] * len(model[tag]["Value"])
    text = orjson.dumps(dict(sorted(model.items()))).decode()
    text = re.sub(r"\\u00(0[1-7ef])", lambda found: chr(int(found[1], 16)), text)
    # An integer in this model (PS3.18 F.2.2), where a text had to hold the place.
    return tuple(_PLACES.split(text.replace(f'"{_NUMBER}"', _NUMBER)))
