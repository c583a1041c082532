"""The modules that all kinds share: patient, study, series, equipment (PS3.3 C.7).

Invariant: every value is invented; the attributes of an identity hold markers. It must not know
any kind.
"""

from __future__ import annotations

import random

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from load.studies.identity import Place
from load.studies.template import marker_value

STUDY_DATE = "20260102"
STUDY_TIME = "101112.000000"
SERIES_TIME = "101200.000000"
FRAME_OF_REFERENCE_UID = "2.25.148350967300000000000000000000000001"
# A real CT header carries about this many elements; vendors put half of them into private groups.
RICH_ELEMENTS = 260
_PRIVATE_BLOCKS = (
    (0x0009, "HILUM SYN ACQUISITION"),
    (0x0019, "HILUM SYN IMAGE"),
    (0x0021, "HILUM SYN SERIES"),
    (0x0029, "HILUM SYN PROTOCOL"),
    (0x0043, "HILUM SYN PARAMETERS"),
)
_PROTOCOL_BYTES = 512


def fill(data_set: Dataset, **values: object) -> Dataset:
    """Sets each keyword of the dictionary (PS3.6) to its value and returns the data set."""
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def item(**values: object) -> Dataset:
    """A new data set of these attributes."""
    return fill(Dataset(), **values)


def items(*data_sets: Dataset) -> Sequence:
    """A sequence of these items."""
    return Sequence(data_sets)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item (PS3.3 8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def marked(place: Place) -> str:
    """The text that a stamp will write over."""
    return marker_value(place)


def common(sop_class_uid: str, modality: str, description: str) -> Dataset:
    """A data set with SOP common, patient, study, series and equipment filled."""
    data_set = item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=sop_class_uid,
        SOPInstanceUID=marked(Place.SOP_INSTANCE_UID),
        InstanceNumber=marked(Place.INSTANCE_NUMBER),
        InstanceCreationDate=STUDY_DATE,
        InstanceCreationTime="101230.000000",
        TimezoneOffsetFromUTC="+0100",
    )
    _patient(data_set)
    _study(data_set, modality, description)
    _series(data_set, modality, description)
    return data_set


def add_vendor_elements(data_set: Dataset, elements: int, seed: int) -> None:
    """Private blocks as vendors write them, until the data set has `elements` with nested ones
    and the pixel data that is still to come. Nothing where it has as many already."""
    missing = elements - 1 - sum(1 for _ in data_set.iterall())
    if missing <= 0:
        return
    generator = random.Random(f"{seed}/private")
    blocks = [data_set.private_block(g, c, create=True) for g, c in _PRIVATE_BLOCKS]
    # The blocks' own creator elements count too; the last block keeps a protocol as a vendor's
    # binary header does.
    for number in range(missing - len(blocks) - 1):
        block = blocks[number % len(blocks)]
        vr, value = _vendor_value(number, generator)
        block.add_new(number // len(blocks), vr, value)
    blocks[3].add_new(0xF0, "OB", generator.randbytes(_PROTOCOL_BYTES))


def _vendor_value(number: int, generator: random.Random) -> tuple[str, object]:
    match number % 8:
        case 0:
            return "LO", f"parameter {number}"
        case 1:
            return "DS", f"{generator.uniform(-500, 500):.3f}"
        case 2:
            return "IS", str(generator.randrange(10_000))
        case 3:
            return "SH", f"P{generator.randrange(10**6)}"
        case 4:
            return "FD", generator.uniform(0, 1)
        case 5:
            return "US", generator.randrange(65_536)
        case 6:
            return "SL", generator.randrange(-1000, 1000)
        case _:
            return "CS", generator.choice(("ON", "OFF", "AUTO"))


def _patient(data_set: Dataset) -> None:
    fill(
        data_set,
        PatientName="Synthetic^Patient",
        PatientID=marked(Place.PATIENT_ID),
        IssuerOfPatientID="HILUM-SYNTHETIC",
        PatientBirthDate="19700101",
        PatientSex="O",
        PatientAge="055Y",
        PatientSize="1.75",
        PatientWeight="70",
        PatientComments="invented",
    )


def _study(data_set: Dataset, modality: str, description: str) -> None:
    procedure = code(f"{modality}-SYN", "99SYN", description)
    fill(
        data_set,
        StudyInstanceUID=marked(Place.STUDY_INSTANCE_UID),
        StudyDate=STUDY_DATE,
        StudyTime=STUDY_TIME,
        StudyID="1",
        AccessionNumber=marked(Place.ACCESSION_NUMBER),
        StudyDescription=description,
        ReferringPhysicianName="Nobody^Known",
        PhysiciansOfRecord="Nobody^Else",
        NameOfPhysiciansReadingStudy="Nobody^Reading",
        AdmittingDiagnosesDescription="none",
        ProcedureCodeSequence=items(procedure),
    )


def _series(data_set: Dataset, modality: str, description: str) -> None:
    fill(
        data_set,
        Modality=modality,
        SeriesInstanceUID=marked(Place.SERIES_INSTANCE_UID),
        SeriesNumber="1",
        SeriesDescription=description,
        SeriesDate=STUDY_DATE,
        SeriesTime=SERIES_TIME,
        Manufacturer="Hilum Synthetic",
        ManufacturerModelName="Generator",
        StationName=f"SYN{modality}1",
        InstitutionName="Synthetic Hospital",
        InstitutionAddress="1 Invented Street",
        InstitutionalDepartmentName="Radiology",
        DeviceSerialNumber="0001",
        SoftwareVersions=["1.0", "load"],
    )


def add_request(data_set: Dataset, modality: str) -> None:
    """The order and the performed procedure step that an image belongs to (PS3.3 C.7.3.1)."""
    protocol = code(f"{modality}-PROT", "99SYN", "Synthetic protocol")
    request = item(
        RequestedProcedureID="RP1",
        RequestedProcedureDescription="Synthetic procedure",
        ScheduledProcedureStepID="SPS1",
        ScheduledProcedureStepDescription="Synthetic step",
        ScheduledProtocolCodeSequence=items(protocol),
    )
    fill(
        data_set,
        RequestAttributesSequence=items(request),
        PerformedProcedureStepID="PPS1",
        PerformedProcedureStepStartDate=STUDY_DATE,
        PerformedProcedureStepStartTime=STUDY_TIME,
        PerformedProcedureStepDescription="Synthetic step",
        ProtocolName="Synthetic protocol",
        OperatorsName="Nobody^Operating",
    )


def add_acquisition(data_set: Dataset) -> None:
    """General image and acquisition dates (PS3.3 C.7.6.1)."""
    fill(
        data_set,
        AcquisitionNumber="1",
        AcquisitionDate=STUDY_DATE,
        AcquisitionTime="101201.000000",
        ContentDate=STUDY_DATE,
        ContentTime="101201.500000",
    )


def add_pixel_description(
    data_set: Dataset, rows: int, columns: int, bits: tuple[int, int]
) -> None:
    """Grey pixels of (allocated, stored) bits, unsigned (PS3.3 C.7.6.3)."""
    allocated, stored = bits
    fill(
        data_set,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=rows,
        Columns=columns,
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=0,
    )
