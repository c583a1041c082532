"""Enhanced CT: a volume in one instance (PS3.3 A.38).

Invariant: valid for its SOP class at any size; every frame says where it is and what it cost.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from load.studies.kind import Draft, Kind, Order, Size
from load.studies.modules import RICH_ELEMENTS, code, common, fill, item, items
from load.studies.multi_frame import describe_frames, frame_groups, shared_planes
from load.studies.pixels import Grey, grey_frames

_IRRADIATION_UID = "2.25.148350967500000000000000000000000002"


def draft_enhanced_ct(order: Order) -> Draft:
    """A volume of the chest in one instance."""
    data_set = common(EnhancedCTImageStorage, "CT", "Enhanced CT of the thorax")
    describe_frames(data_set, order.size, ("ORIGINAL", "PRIMARY", "VOLUME", "NONE"), 12)
    fill(
        data_set,
        AcquisitionDateTime="20260102101201.000000",
        AcquisitionDuration=4.0,
        AcquisitionNumber="1",
        ContentQualification="PRODUCT",
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        PatientPosition="HFS",
        SharedFunctionalGroupsSequence=items(_shared_ct(order.size)),
        PerFrameFunctionalGroupsSequence=items(
            *(_ct_frame(number, order.size) for number in range(order.size.frames))
        ),
    )
    look = Grey(air=48, tissue=1060, noise=40, stored=12)
    return Draft(data_set, grey_frames(order.size, look, order.seed), RICH_ELEMENTS)


def _ct_frame(number: int, size: Size) -> Dataset:
    z = -0.5 * number
    frame = frame_groups(number, ["-180", "-180", f"{z:.1f}"])
    return fill(
        frame,
        CTPositionSequence=items(
            item(
                TablePosition=z,
                ReconstructionTargetCenterPatient=[0.0, 0.0, z],
                DataCollectionCenterPatient=[0.0, 0.0, z],
            )
        ),
        CTExposureSequence=items(
            item(
                ExposureTimeInms=500.0,
                XRayTubeCurrentInmA=250.0 + number % 50,
                ExposureInmAs=125.0,
                ExposureModulationType="ANGULAR",
                CTDIvol=5.2,
                CTDIPhantomTypeCodeSequence=items(
                    code("113691", "DCM", "IEC Body Dosimetry Phantom")
                ),
            )
        ),
        IrradiationEventIdentificationSequence=items(item(IrradiationEventUID=_IRRADIATION_UID)),
    )


def _shared_ct(size: Size) -> Dataset:
    spacing = f"{360 / size.columns:.6f}"
    shared = shared_planes(spacing, ["1", "0", "0", "0", "1", "0"], ("51185008", "Chest"), "U")
    return fill(
        shared,
        FrameVOILUTSequence=items(item(WindowCenter="40", WindowWidth="400")),
        PixelValueTransformationSequence=items(
            item(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")
        ),
        CTImageFrameTypeSequence=items(
            item(
                FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
            )
        ),
        CTAcquisitionTypeSequence=items(
            item(
                AcquisitionType="SPIRAL",
                ConstantVolumeFlag="NO",
                FluoroscopyFlag="NO",
            )
        ),
        CTAcquisitionDetailsSequence=items(
            item(
                RotationDirection="CW",
                RevolutionTime=0.5,
                SingleCollimationWidth=0.6,
                TotalCollimationWidth=38.4,
                TableHeight="150",
                GantryDetectorTilt="0",
                DataCollectionDiameter="500",
            )
        ),
        CTTableDynamicsSequence=items(
            item(TableSpeed=46.0, TableFeedPerRotation=23.0, SpiralPitchFactor=0.6)
        ),
        CTGeometrySequence=items(
            item(DistanceSourceToDetector="1085.6", DistanceSourceToDataCollectionCenter=595.0)
        ),
        CTReconstructionSequence=items(_ct_reconstruction(360 / size.columns)),
        CTXRayDetailsSequence=items(
            item(
                KVP="120",
                FocalSpots=[1.2],
                FilterType="WEDGE",
                FilterMaterial="ALUMINUM",
                CalciumScoringMassFactorPatient=1.0,
            )
        ),
    )


def _ct_reconstruction(spacing: float) -> Dataset:
    return item(
        ReconstructionAlgorithm="FILTER_BACK_PROJ",
        ConvolutionKernel="SYN40",
        ConvolutionKernelGroup="SOFT_TISSUE",
        ReconstructionDiameter="360",
        ReconstructionPixelSpacing=[spacing, spacing],
        ReconstructionAngle=360.0,
        ImageFilter="NONE",
    )


KINDS = (
    Kind(
        "enhanced-ct",
        "CT",
        "Enhanced CT, 64 frames of 512 × 512",
        EnhancedCTImageStorage,
        (1, 8),
        draft_enhanced_ct,
        Size(512, 512, 64),
    ),
)
