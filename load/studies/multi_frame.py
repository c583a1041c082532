"""What enhanced multi-frame classes share: dimensions and functional groups (PS3.3 C.7.6.16).

Invariant: what holds for all frames stands in the shared groups, what moves in the frame's own.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from load.studies.kind import Size
from load.studies.modules import (
    FRAME_OF_REFERENCE_UID,
    STUDY_DATE,
    add_pixel_description,
    add_request,
    code,
    fill,
    item,
    items,
)

_ORGANIZATION_UID = "2.25.148350967500000000000000000000000001"
_IN_STACK_POSITION = 0x00209057
_FRAME_CONTENT = 0x00209111
_FRAME_TIME_FORMAT = "20260102101201.{:06d}"


def describe_frames(
    data_set: Dataset, size: Size, image_type: tuple[str, ...], stored: int
) -> None:
    """Frames of one stack in grey, with the order they belong to and their dimensions."""
    add_request(data_set, data_set.Modality)
    add_pixel_description(data_set, size.rows, size.columns, (16, stored))
    index = item(
        DimensionOrganizationUID=_ORGANIZATION_UID,
        DimensionIndexPointer=_IN_STACK_POSITION,
        FunctionalGroupPointer=_FRAME_CONTENT,
    )
    fill(
        data_set,
        ImageType=list(image_type),
        NumberOfFrames=str(size.frames),
        ContentDate=STUDY_DATE,
        ContentTime="101201.500000",
        FrameOfReferenceUID=FRAME_OF_REFERENCE_UID,
        PositionReferenceIndicator="",
        AcquisitionContextSequence=items(),
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        PresentationLUTShape="IDENTITY",
        DimensionOrganizationType="3D",
        DimensionOrganizationSequence=items(item(DimensionOrganizationUID=_ORGANIZATION_UID)),
        DimensionIndexSequence=items(index),
        ReferencedPerformedProcedureStepSequence=items(
            item(
                ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.3",
                ReferencedSOPInstanceUID="2.25.148350967400000000000000000000000001",
            )
        ),
    )


def frame_groups(number: int, position: list[str]) -> Dataset:
    """The functional groups of one frame: when it was acquired, and where it lies."""
    moment = _FRAME_TIME_FORMAT.format(1000 * number)
    content = item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=moment,
        FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=50.0,
        StackID="1",
        InStackPositionNumber=number + 1,
        DimensionIndexValues=[number + 1],
    )
    return item(
        FrameContentSequence=items(content),
        PlanePositionSequence=items(item(ImagePositionPatient=position)),
    )


def shared_planes(
    spacing: str, orientation: list[str], region: tuple[str, str], laterality: str
) -> Dataset:
    """The groups that say how all frames lie in the patient and what they show."""
    return item(
        PixelMeasuresSequence=items(
            item(
                PixelSpacing=[spacing, spacing],
                SliceThickness="1",
                SpacingBetweenSlices="1",
            )
        ),
        PlaneOrientationSequence=items(item(ImageOrientationPatient=orientation)),
        FrameAnatomySequence=items(
            item(
                FrameLaterality=laterality,
                AnatomicRegionSequence=items(code(region[0], "SCT", region[1])),
            )
        ),
    )
