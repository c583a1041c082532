"""CR, DX and MG: large grey projections, one or few a study (PS3.3 A.2, A.26, A.27).

Invariant: each is valid for its SOP class at any size.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
)

from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import (
    RICH_ELEMENTS,
    STUDY_DATE,
    add_acquisition,
    add_pixel_description,
    add_request,
    code,
    common,
    fill,
    item,
    items,
)
from load.studies.pixels import Grey, grey_frames

_CHEST = ("51185008", "SCT", "Chest")
_BREAST = ("76752008", "SCT", "Breast")


def draft_cr(order: Order) -> Draft:
    """A chest on a storage phosphor plate: 12 of 16 bits, or 8 of 8 for baseline JPEG."""
    bits = (8, 8) if order.is_8_bit else (16, 12)
    data_set = common(ComputedRadiographyImageStorage, "CR", "Chest PA")
    add_request(data_set, "CR")
    add_acquisition(data_set)
    add_pixel_description(data_set, order.size.rows, order.size.columns, bits)
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY"],
        PatientOrientation=["L", "F"],
        BodyPartExamined="CHEST",
        ViewPosition="PA",
        KVP="125",
        PlateID="SYN0001",
        PhosphorType="BaFBr",
        Exposure="4",
        ExposureTime="10",
        XRayTubeCurrent="400",
        DistanceSourceToDetector="1800",
        ImagerPixelSpacing=["0.143", "0.143"],
        CassetteOrientation="PORTRAIT",
        CassetteSize="35CMX43CM",
        Sensitivity="400",
        AcquisitionDeviceProcessingDescription="chest",
        WindowCenter=str(2 ** (bits[1] - 1)),
        WindowWidth=str(2 ** bits[1]),
    )
    return Draft(data_set, grey_frames(order.size, _look(bits[1]), order.seed), RICH_ELEMENTS)


def draft_dx(order: Order) -> Draft:
    """A chest on a flat panel, for presentation: 14 of 16 bits."""
    data_set = common(DigitalXRayImageStorageForPresentation, "DX", "Chest PA")
    _digital(data_set, order.size, "SCINTILLATOR")
    fill(
        data_set,
        BodyPartExamined="CHEST",
        AnatomicRegionSequence=items(code(*_CHEST)),
        ImageLaterality="U",
        PatientOrientation=["L", "F"],
        ViewPosition="PA",
        ViewCodeSequence=items(code("399348003", "SCT", "postero-anterior")),
        PatientOrientationCodeSequence=items(code("10904000", "SCT", "erect")),
        KVP="125",
        ExposureControlMode="AUTOMATIC",
        Exposure="4",
        ExposureTime="10",
        XRayTubeCurrent="400",
        DistanceSourceToDetector="1800",
        DistanceSourceToPatient="1700",
        Grid=["FIXED", "FOCUSED"],
        ExposureIndex="250",
        TargetExposureIndex="250",
        DeviationIndex="0.2",
        PositionerType="NONE",
    )
    return Draft(data_set, grey_frames(order.size, _look(14), order.seed), RICH_ELEMENTS)


def draft_mg(order: Order) -> Draft:
    """A right cranio-caudal view of full-field mammography, for presentation: 14 of 16 bits."""
    data_set = common(DigitalMammographyXRayImageStorageForPresentation, "MG", "Mammogram")
    _digital(data_set, order.size, "DIRECT")
    view = fill(code("399162004", "SCT", "cranio-caudal"), ViewModifierCodeSequence=items())
    fill(
        data_set,
        BodyPartExamined="BREAST",
        AnatomicRegionSequence=items(code(*_BREAST)),
        ImageLaterality="R",
        OrganExposed="BREAST",
        PatientOrientation=["P", "L"],
        PositionerType="MAMMOGRAPHIC",
        PositionerPrimaryAngle="0",
        ViewCodeSequence=items(view),
        BreastImplantPresent="NO",
        PartialView="NO",
        AnodeTargetMaterial="TUNGSTEN",
        FilterMaterial="RHODIUM",
        FilterType="STRIP",
        FilterThicknessMinimum="0.05",
        FilterThicknessMaximum="0.05",
        KVP="29",
        ExposureControlMode="AUTOMATIC",
        Exposure="90",
        ExposureInuAs="90000",
        ExposureTime="900",
        XRayTubeCurrent="100",
        DistanceSourceToDetector="700",
        DistanceSourceToPatient="650",
        EstimatedRadiographicMagnificationFactor="1.0769",
        BodyPartThickness="52",
        CompressionForce="110",
        OrganDose="0.012",
        EntranceDoseInmGy="5.4",
        HalfValueLayer="0.55",
        Grid=["RECIPROCATING", "CROSSED"],
    )
    return Draft(data_set, grey_frames(order.size, _look(14), order.seed), RICH_ELEMENTS)


def _look(stored: int) -> Grey:
    full = 2.0**stored
    return Grey(air=full * 0.05, tissue=full * 0.45, noise=full * 0.004, stored=stored)


def _digital(data_set: Dataset, size: Size, detector: str) -> None:
    """DX series, image and detector modules (PS3.3 C.8.11)."""
    add_request(data_set, data_set.Modality)
    add_acquisition(data_set)
    add_pixel_description(data_set, size.rows, size.columns, (16, 14))
    fill(
        data_set,
        ImageType=["ORIGINAL", "PRIMARY", ""],
        PresentationIntentType="FOR PRESENTATION",
        AcquisitionContextSequence=items(),
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1,
        RescaleIntercept="0",
        RescaleSlope="1",
        RescaleType="US",
        PresentationLUTShape="IDENTITY",
        LossyImageCompression="00",
        BurnedInAnnotation="NO",
        WindowCenter="8192",
        WindowWidth="16384",
        DetectorType=detector,
        DetectorConfiguration="AREA",
        DetectorID="SYN0001",
        DetectorDescription="synthetic panel",
        DateOfLastDetectorCalibration=STUDY_DATE,
        DetectorTemperature="28",
        DetectorBinning=["1", "1"],
        ImagerPixelSpacing=["0.139", "0.139"],
        FieldOfViewShape="RECTANGLE",
        FieldOfViewDimensions=["417", "348"],
        FieldOfViewOrigin=["0", "0"],
        FieldOfViewRotation="0",
        FieldOfViewHorizontalFlip="NO",
        ReferencedPerformedProcedureStepSequence=items(
            item(
                ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.3",
                ReferencedSOPInstanceUID="2.25.148350967400000000000000000000000001",
            )
        ),
    )


KINDS = (
    Kind(
        "cr",
        "CR",
        "CR plate, 3000 × 2500",
        ComputedRadiographyImageStorage,
        (1, 3),
        draft_cr,
        Size(3000, 2500),
        can_be_8_bit=True,
    ),
    Kind(
        "dx",
        "DX",
        "DX panel, 3000 × 2500",
        DigitalXRayImageStorageForPresentation,
        (1, 3),
        draft_dx,
        Size(3000, 2500),
    ),
    Kind(
        "mg",
        "MG",
        "Mammography view, 4096 × 3328",
        DigitalMammographyXRayImageStorageForPresentation,
        (4, 4),
        draft_mg,
        Size(4096, 3328),
    ),
)
