"""Small templates of a shape that tests choose, made without the studies' pixels.

Invariant: all places of an identity are in them, so that instances differ as real ones do.
"""

from __future__ import annotations

import io

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from load.senders import Planned
from load.studies import Identity, Place, Template
from load.studies.template import find_places, marker_value

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def small_template(
    pixel_bytes: int = 2048, transfer_syntax_uid: str = str(ExplicitVRLittleEndian)
) -> Template:
    """A data set of about `pixel_bytes`, encoded in explicit VR little endian."""
    header = Dataset()
    header.SOPClassUID = CT_IMAGE_STORAGE
    header.SOPInstanceUID = marker_value(Place.SOP_INSTANCE_UID)
    header.StudyInstanceUID = marker_value(Place.STUDY_INSTANCE_UID)
    header.SeriesInstanceUID = marker_value(Place.SERIES_INSTANCE_UID)
    header.AccessionNumber = marker_value(Place.ACCESSION_NUMBER)
    header.PatientID = marker_value(Place.PATIENT_ID)
    header.InstanceNumber = marker_value(Place.INSTANCE_NUMBER)
    header.Modality = "CT"
    header.PatientName = "Synthetic^Sender"
    header.add_new(0x7FE00010, "OW", bytes(range(256)) * (pixel_bytes // 256))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header, implicit_vr=False, little_endian=True)
    data_set = buffer.getvalue()
    return Template(
        kind="ct-test",
        modality="CT",
        sop_class_uid=CT_IMAGE_STORAGE,
        transfer_syntax_uid=transfer_syntax_uid,
        data_set=data_set,
        places=find_places(data_set),
    )


def planned(template: Template, count: int, seed: int = 1) -> list[Planned]:
    """`count` instances of one study, for a closed loop."""
    return [Planned(template, Identity(seed, 1, 1, number)) for number in range(count)]
