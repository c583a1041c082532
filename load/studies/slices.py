"""CT and MR and PET slices: one plane an instance (PS3.3 A.3, A.4, A.21).

Invariant: each is valid for its SOP class at any size.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from load.studies.identity import Place
from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import (
    FRAME_OF_REFERENCE_UID,
    RICH_ELEMENTS,
    add_acquisition,
    add_pixel_description,
    add_request,
    common,
    fill,
    marked,
)
from load.studies.pixels import Grey, grey_frames

_FIELD_OF_VIEW_MM = 360.0
# Noise chosen so that a lossless codec takes the 16 bits of a pixel to 40–50 %.
_CT_LOOK = Grey(air=24, tissue=1060, noise=24, stored=12)


def draft_ct(order: Order) -> Draft:
    """An axial CT slice of 12 of 16 bits."""
    data_set = common(CTImageStorage, "CT", "CT of the thorax")
    add_request(data_set, "CT")
    add_acquisition(data_set)
    _plane(data_set, order.size)
    add_pixel_description(data_set, order.size.rows, order.size.columns, (16, 12))
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        BodyPartExamined="CHEST",
        ScanOptions="HELICAL MODE",
        KVP="120",
        DataCollectionDiameter="500",
        ReconstructionDiameter="360",
        DistanceSourceToDetector="1085.6",
        DistanceSourceToPatient="595",
        GantryDetectorTilt="0",
        TableHeight="150",
        RotationDirection="CW",
        ExposureTime="500",
        XRayTubeCurrent="250",
        Exposure="125",
        FilterType="BODY",
        GeneratorPower="40",
        FocalSpots="1.2",
        ConvolutionKernel="SYN40",
        RevolutionTime=0.5,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=38.4,
        TableSpeed=46.0,
        TableFeedPerRotation=23.0,
        SpiralPitchFactor=0.6,
        ExposureModulationType="ANGULAR",
        CTDIvol=5.2,
        SmallestImagePixelValue=0,
        LargestImagePixelValue=4095,
        WindowCenter=["40", "-600"],
        WindowWidth=["400", "1200"],
        WindowCenterWidthExplanation=["soft tissue", "lung"],
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
    )
    frames = grey_frames(order.size, _CT_LOOK, order.seed)
    return Draft(data_set, frames, RICH_ELEMENTS)


def _plane(data_set: Dataset, size: Size) -> None:
    spacing = f"{_FIELD_OF_VIEW_MM / size.columns:.6f}"
    fill(
        data_set,
        FrameOfReferenceUID=FRAME_OF_REFERENCE_UID,
        PositionReferenceIndicator="XY",
        PatientPosition="HFS",
        ImagePositionPatient=["-180", "-180", marked(Place.SLICE_LOCATION)],
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        SliceLocation=marked(Place.SLICE_LOCATION),
        SliceThickness="1",
        SpacingBetweenSlices="0.5",
        PixelSpacing=[spacing, spacing],
    )


KINDS = (
    Kind(
        "ct",
        "CT",
        "CT slice, 512 × 512",
        CTImageStorage,
        (500, 1500),
        draft_ct,
        Size(512, 512),
    ),
    Kind(
        "ct-small",
        "CT",
        "CT slice, 32 × 32: a full header with few pixels",
        CTImageStorage,
        (500, 1500),
        draft_ct,
        Size(32, 32),
    ),
)
