"""Ultrasound cine: a multi-frame instance in colour (PS3.3 A.7).

Invariant: valid for its SOP class at any size; frames are told by time.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundMultiFrameImageStorage

from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import (
    RICH_ELEMENTS,
    add_acquisition,
    add_request,
    common,
    fill,
    item,
    items,
)
from load.studies.pixels import colour_frames

_FRAME_TIME_MS = "33.33"
_FRAME_TIME = 0x00181063


def draft_us_cine(order: Order) -> Draft:
    """A heart at 30 frames a second in RGB, with the region's calibration (PS3.3 C.8.5.5)."""
    data_set = common(UltrasoundMultiFrameImageStorage, "US", "Echocardiogram")
    add_request(data_set, "US")
    add_acquisition(data_set)
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY", "TTE", "0001"],
        PatientOrientation="",
        BodyPartExamined="HEART",
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=order.size.rows,
        Columns=order.size.columns,
        NumberOfFrames=str(order.size.frames),
        FrameIncrementPointer=_FRAME_TIME,
        FrameTime=_FRAME_TIME_MS,
        CineRate="30",
        RecommendedDisplayFrameRate="30",
        HeartRate="62",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        LossyImageCompression="00",
        UltrasoundColorDataPresent=0,
        TransducerData=["S5-1", "", ""],
        TransducerType="SECTOR_PHASED",
        ProcessingFunction="CARDIAC",
        MechanicalIndex="1.2",
        BoneThermalIndex="0.6",
        CranialThermalIndex="1.1",
        SoftTissueThermalIndex="0.7",
        DepthOfScanField="160",
        SequenceOfUltrasoundRegions=items(_region(order.size)),
    )
    return Draft(data_set, colour_frames(order.size, order.seed), RICH_ELEMENTS)


def _region(size: Size) -> Dataset:
    return item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        RegionFlags=2,
        RegionLocationMinX0=0,
        RegionLocationMinY0=0,
        RegionLocationMaxX1=size.columns - 1,
        RegionLocationMaxY1=size.rows - 1,
        ReferencePixelX0=size.columns // 2,
        ReferencePixelY0=0,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        ReferencePixelPhysicalValueX=0.0,
        ReferencePixelPhysicalValueY=0.0,
        PhysicalDeltaX=0.03,
        PhysicalDeltaY=0.03,
        TransducerFrequency=2500,
        PulseRepetitionFrequency=4000,
    )


KINDS = (
    Kind(
        "us-cine",
        "US",
        "Ultrasound cine, 40 frames of 600 × 800 in colour",
        UltrasoundMultiFrameImageStorage,
        (10, 80),
        draft_us_cine,
        Size(600, 800, 40),
        bits=8,
        samples=3,
    ),
)
