"""CT and MR and PET slices: one plane an instance (PS3.3 A.3, A.4, A.21).

Invariant: each is valid for its SOP class at any size.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from load.studies.identity import Place
from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import (
    FRAME_OF_REFERENCE_UID,
    RICH_ELEMENTS,
    add_acquisition,
    add_pixel_description,
    add_request,
    code,
    common,
    fill,
    item,
    items,
    marked,
)
from load.studies.pixels import Grey, grey_frames

_FIELD_OF_VIEW_MM = 360.0
# Noise chosen so that a lossless codec takes the 16 bits of a pixel to 40–50 %.
_CT_LOOK = Grey(air=48, tissue=1060, noise=40, stored=12)


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


def draft_mr(order: Order) -> Draft:
    """A spin echo slice of 12 of 16 bits."""
    data_set = common(MRImageStorage, "MR", "MR of the head")
    add_request(data_set, "MR")
    add_acquisition(data_set)
    _plane(data_set, order.size)
    add_pixel_description(data_set, order.size.rows, order.size.columns, (16, 12))
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
        BodyPartExamined="HEAD",
        ScanningSequence="SE",
        SequenceVariant="SK",
        ScanOptions="",
        MRAcquisitionType="2D",
        SequenceName="se2d1",
        AngioFlag="N",
        RepetitionTime="500",
        EchoTime="12",
        EchoTrainLength="1",
        EchoNumbers="1",
        NumberOfAverages="1",
        ImagingFrequency="63.87",
        ImagedNucleus="1H",
        MagneticFieldStrength="1.5",
        NumberOfPhaseEncodingSteps=str(order.size.rows),
        PercentSampling="100",
        PercentPhaseFieldOfView="100",
        PixelBandwidth="130",
        ReceiveCoilName="HEAD",
        TransmitCoilName="BODY",
        AcquisitionMatrix=[0, order.size.columns, order.size.rows, 0],
        InPlanePhaseEncodingDirection="ROW",
        FlipAngle="90",
        VariableFlipAngleFlag="N",
        SAR="0.1",
        dBdt="0",
        SmallestImagePixelValue=0,
        LargestImagePixelValue=4095,
        WindowCenter="600",
        WindowWidth="1200",
    )
    look = Grey(air=16, tissue=700, noise=24, stored=12)
    return Draft(data_set, grey_frames(order.size, look, order.seed), RICH_ELEMENTS)


def draft_pet(order: Order) -> Draft:
    """An FDG slice, attenuation corrected; all 16 bits, as the class asks (PS3.3 C.8.9.4)."""
    data_set = common(PositronEmissionTomographyImageStorage, "PT", "PET of the body")
    add_request(data_set, "PT")
    add_acquisition(data_set)
    _plane(data_set, order.size)
    # Told by PatientOrientationCodeSequence here (PS3.3 C.8.9.5).
    del data_set.PatientPosition
    add_pixel_description(data_set, order.size.rows, order.size.columns, (16, 16))
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY"],
        BodyPartExamined="CHEST",
        Units="BQML",
        CountsSource="EMISSION",
        SeriesType=["WHOLE BODY", "IMAGE"],
        NumberOfSlices=300,
        CorrectedImage=["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
        DecayCorrection="START",
        CollimatorType="NONE",
        RandomsCorrectionMethod="DLYD",
        AttenuationCorrectionMethod="CT",
        ScatterCorrectionMethod="Model based",
        ReconstructionMethod="OSEM 3i 21s",
        ConvolutionKernel="XYZ Gauss 4.00",
        FrameReferenceTime="60000",
        ActualFrameDuration="120000",
        DecayFactor="1.01",
        DoseCalibrationFactor="1",
        ScatterFractionFactor="0.3",
        DeadTimeFactor="1.05",
        ImageIndex=1,
        SmallestImagePixelValue=0,
        LargestImagePixelValue=65535,
        WindowCenter="16000",
        WindowWidth="32000",
        RescaleIntercept="0",
        RescaleSlope="0.5",
        RadiopharmaceuticalInformationSequence=items(_fluorodeoxyglucose()),
        PatientOrientationCodeSequence=items(_recumbent()),
        PatientGantryRelationshipCodeSequence=items(code("102540001", "SCT", "headfirst")),
    )
    look = Grey(air=100, tissue=9000, noise=500, stored=16)
    return Draft(data_set, grey_frames(order.size, look, order.seed), RICH_ELEMENTS)


def _fluorodeoxyglucose() -> Dataset:
    return item(
        Radiopharmaceutical="Fluorodeoxyglucose",
        RadiopharmaceuticalStartTime="091112.000000",
        RadionuclideTotalDose="250000000",
        RadionuclideHalfLife="6586.2",
        RadionuclidePositronFraction="0.967",
        RadionuclideCodeSequence=items(code("77004003", "SCT", "^18^Fluorine")),
        RadiopharmaceuticalCodeSequence=items(code("35321007", "SCT", "Fluorodeoxyglucose F^18^")),
    )


def _recumbent() -> Dataset:
    return fill(
        code("102538003", "SCT", "recumbent"),
        PatientOrientationModifierCodeSequence=items(code("40199007", "SCT", "supine")),
    )


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
    Kind(
        "mr",
        "MR",
        "MR slice, 320 × 320",
        MRImageStorage,
        (100, 600),
        draft_mr,
        Size(320, 320),
    ),
    Kind(
        "pet",
        "PT",
        "PET slice, 200 × 200",
        PositronEmissionTomographyImageStorage,
        (250, 700),
        draft_pet,
        Size(200, 200),
    ),
)
