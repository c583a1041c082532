"""RT structure set: organs outlined on the slices of the study (PS3.3 A.19).

Invariant: it names its own study; the outlines are circles, nobody's organs.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from load.studies.documents import REFERENCED_SERIES_UID, ct_reference
from load.studies.identity import Place
from load.studies.kind import Draft, Kind, Order
from load.studies.modules import (
    FRAME_OF_REFERENCE_UID,
    STUDY_DATE,
    common,
    fill,
    item,
    items,
    marked,
)

_SLICES = 40
_POINTS = 60


def draft_rtstruct(order: Order) -> Draft:
    """Four organs outlined on forty slices, sixty points each."""
    data_set = common(RTStructureSetStorage, "RTSTRUCT", "Structure set")
    slices = [ct_reference(number) for number in range(_SLICES)]
    series = item(SeriesInstanceUID=REFERENCED_SERIES_UID, ContourImageSequence=items(*slices))
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=marked(Place.STUDY_INSTANCE_UID),
        RTReferencedSeriesSequence=items(series),
    )
    names = ("BODY", "LUNG_L", "LUNG_R", "HEART")
    fill(
        data_set,
        OperatorsName="Nobody^Planning",
        FrameOfReferenceUID=FRAME_OF_REFERENCE_UID,
        PositionReferenceIndicator="",
        StructureSetLabel="SYNTHETIC",
        StructureSetName="Synthetic",
        StructureSetDate=STUDY_DATE,
        StructureSetTime="110000.000000",
        ApprovalStatus="UNAPPROVED",
        ReferencedFrameOfReferenceSequence=items(
            item(
                FrameOfReferenceUID=FRAME_OF_REFERENCE_UID,
                RTReferencedStudySequence=items(study),
            )
        ),
        StructureSetROISequence=items(*(_region(n, name) for n, name in enumerate(names, 1))),
        ROIContourSequence=items(*(_contours(n) for n in range(1, len(names) + 1))),
        RTROIObservationsSequence=items(
            *(
                item(
                    ObservationNumber=str(n),
                    ReferencedROINumber=str(n),
                    RTROIInterpretedType="EXTERNAL" if n == 1 else "ORGAN",
                    ROIInterpreter="",
                )
                for n in range(1, len(names) + 1)
            )
        ),
    )
    return Draft(data_set)


def _region(number: int, name: str) -> Dataset:
    return item(
        ROINumber=str(number),
        ReferencedFrameOfReferenceUID=FRAME_OF_REFERENCE_UID,
        ROIName=name,
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _contours(number: int) -> Dataset:
    contours = []
    for slice_number in range(_SLICES):
        angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
        radius = 160 / number
        z = -0.5 * slice_number
        points = [
            f"{v:.2f}"
            for angle in angles
            for v in (radius * np.cos(angle), radius * np.sin(angle), z)
        ]
        contours.append(
            item(
                ContourImageSequence=items(ct_reference(slice_number)),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=str(_POINTS),
                ContourData=points,
            )
        )
    return item(
        ReferencedROINumber=str(number),
        ROIDisplayColor=["255", str(60 * number), "0"],
        ContourSequence=items(*contours),
    )


KINDS = (
    Kind(
        "rtstruct",
        "RTSTRUCT",
        "Structure set: four organs on forty slices",
        RTStructureSetStorage,
        (1, 1),
        draft_rtstruct,
    ),
)
