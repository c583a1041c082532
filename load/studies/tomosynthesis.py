"""Breast tomosynthesis: the planes of a breast in one large instance (PS3.3 A.55).

Invariant: valid for its SOP class at any size; 80 MB by default, 500 MB where it is asked for.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import BreastTomosynthesisImageStorage

from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import RICH_ELEMENTS, code, common, fill, item, items
from load.studies.multi_frame import describe_frames, frame_groups, shared_planes
from load.studies.pixels import Grey, grey_frames


def draft_tomo(order: Order) -> Draft:
    """The reconstructed planes of a breast, each an image of 14 of 16 bits."""
    data_set = common(BreastTomosynthesisImageStorage, "MG", "Breast tomosynthesis")
    describe_frames(data_set, order.size, ("ORIGINAL", "PRIMARY", "TOMOSYNTHESIS", "NONE"), 14)
    fill(
        data_set,
        ContentQualification="PRODUCT",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="TOMOSYNTHESIS",
        PixelPresentation="MONOCHROME",
        BreastImplantPresent="NO",
        PartialView="NO",
        ViewCodeSequence=items(
            fill(
                code("399368009", "SCT", "medio-lateral oblique"),
                ViewModifierCodeSequence=items(),
            )
        ),
        XRay3DAcquisitionSequence=items(_acquisition(order.size)),
        XRay3DReconstructionSequence=items(_reconstruction()),
        SharedFunctionalGroupsSequence=items(_shared_tomo()),
        PerFrameFunctionalGroupsSequence=items(
            *(_tomo_frame(number) for number in range(order.size.frames))
        ),
    )
    look = Grey(air=800, tissue=7000, noise=60, stored=14)
    return Draft(data_set, grey_frames(order.size, look, order.seed), RICH_ELEMENTS)


def _tomo_frame(number: int) -> Dataset:
    frame_type = item(
        FrameType=["ORIGINAL", "PRIMARY", "TOMOSYNTHESIS", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="TOMOSYNTHESIS",
        ReconstructionIndex=1,
    )
    frame = frame_groups(number, ["0", "0", f"{number:.1f}"])
    return fill(frame, XRay3DFrameTypeSequence=items(frame_type))


def _shared_tomo() -> Dataset:
    shared = shared_planes("0.1", ["0", "1", "0", "0", "0", "-1"], ("76752008", "Breast"), "R")
    return fill(
        shared,
        FrameVOILUTSequence=items(item(WindowCenter="8192", WindowWidth="16384")),
        PixelValueTransformationSequence=items(
            item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
        ),
    )


def _acquisition(size: Size) -> Dataset:
    source = item(
        PositionerPrimaryAngle="0",
        PositionerSecondaryAngle="0",
        ExposureTimeInms=60.0,
        XRayTubeCurrentInmA=100.0,
        ExposureInmAs=6.0,
        FrameAcquisitionDuration=60.0,
        RelativeXRayExposure=100,
    )
    return item(
        FieldOfViewShape="RECTANGLE",
        FieldOfViewDimensionsInFloat=[0.1 * size.rows, 0.1 * size.columns],
        FieldOfViewOrigin=["0", "0"],
        XRayReceptorType="DIGITAL_DETECTOR",
        DetectorTemperature="28",
        DistanceSourceToDetector="700",
        DistanceSourceToPatient="650",
        EstimatedRadiographicMagnificationFactor="1.0769",
        KVP="31",
        FocalSpots="0.3",
        AnodeTargetMaterial="TUNGSTEN",
        FilterType="STRIP",
        FilterMaterial="ALUMINUM",
        FilterThicknessMinimum="0.7",
        FilterThicknessMaximum="0.7",
        HalfValueLayer="0.55",
        ExposureControlMode="AUTOMATIC",
        ExposureControlModeDescription="synthetic",
        ExposureTimeInms=900.0,
        XRayTubeCurrentInmA=100.0,
        ExposureInmAs=90.0,
        BodyPartThickness="52",
        CompressionForce="110",
        PaddleDescription="24CMX30CM",
        PrimaryPositionerScanArc=15.0,
        PrimaryPositionerScanStartAngle=-7.5,
        PrimaryPositionerIncrement=1.0,
        PerProjectionAcquisitionSequence=items(source),
    )


def _reconstruction() -> Dataset:
    return item(
        ReconstructionDescription="synthetic planes",
        ApplicationName="Generator",
        ApplicationVersion="1.0",
        ApplicationManufacturer="Hilum Synthetic",
        AlgorithmType="FILTER_BACK_PROJ",
        AlgorithmDescription="synthetic",
        AcquisitionIndex=[1],
    )


KINDS = (
    Kind(
        "tomo",
        "MG",
        "Breast tomosynthesis, 16 frames of 2048 × 1280 (up to 96: 500 MB)",
        BreastTomosynthesisImageStorage,
        (2, 4),
        draft_tomo,
        Size(2048, 1280, 16),
    ),
)
