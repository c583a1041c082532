"""Synthetic studies: made-up CT slices whose headers are as rich as a real scanner's.

Invariant: no patient data; every value is invented here or drawn from the seed, so that the same
seed gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.2")
# A real CT header carries about this many elements; vendors put half of them into private groups.
ELEMENTS = 260
_ROOT = "2.25"


@dataclass(frozen=True, slots=True)
class CtStudy:
    """What to make: `slices` images of `rows` × `rows` pixels of 16 bits, all from one seed."""

    slices: int
    rows: int = 512
    seed: int = 1
    patient_name: str = "Synthetic^Patient"

    @property
    def study_instance_uid(self) -> str:
        """The study's UID, from the seed."""
        return self._uid("study")

    @property
    def accession_number(self) -> str:
        """The study's accession number, from the seed."""
        return f"SYN{random.Random(f'{self.seed}/accession').randrange(10**9):09d}"

    def _uid(self, what: str) -> str:
        # 2.25.<UUID as integer> (PS3.5 B.2) from a seeded generator.
        return f"{_ROOT}.{random.Random(f'{self.seed}/{what}').getrandbits(128)}"

    def data_sets(self) -> Iterator[Dataset]:
        """The study's instances, in slice order, with pixels that compress like noise."""
        generator = random.Random(f"{self.seed}/pixels")
        # One block of noise, shifted for each slice: making 512 KiB of noise a slice would cost
        # more than sending it.
        noise = generator.randbytes(self.rows * self.rows * 2 + 2 * self.slices)
        for index in range(self.slices):
            data_set = self._header(index)
            data_set.PixelData = noise[2 * index : 2 * index + self.rows * self.rows * 2]
            data_set["PixelData"].VR = "OW"
            yield data_set

    def write(self, directory: Path) -> list[Path]:
        """Writes the study as Part-10 files and returns their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for index, data_set in enumerate(self.data_sets()):
            path = directory / f"{index:05d}.dcm"
            dcmwrite(path, data_set, enforce_file_format=True)
            paths.append(path)
        return paths

    def _header(self, index: int) -> Dataset:
        data_set = Dataset()
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data_set.file_meta.MediaStorageSOPClassUID = CT_IMAGE_STORAGE
        data_set.file_meta.MediaStorageSOPInstanceUID = UID(self._uid(f"instance/{index}"))
        data_set.SOPClassUID = CT_IMAGE_STORAGE
        data_set.SOPInstanceUID = self._uid(f"instance/{index}")
        self._patient_and_study(data_set)
        self._series_and_equipment(data_set, index)
        self._image(data_set, index)
        self._private(data_set, index)
        return data_set

    def _patient_and_study(self, data_set: Dataset) -> None:
        data_set.SpecificCharacterSet = "ISO_IR 192"
        data_set.PatientName = self.patient_name
        data_set.PatientID = f"SYN-{self.seed}"
        data_set.IssuerOfPatientID = "HILUM-SYNTHETIC"
        data_set.PatientBirthDate = "19700101"
        data_set.PatientSex = "O"
        data_set.PatientAge = "055Y"
        data_set.PatientWeight = "70"
        data_set.StudyInstanceUID = self.study_instance_uid
        data_set.StudyDate = "20260102"
        data_set.StudyTime = "101112.000000"
        data_set.StudyID = str(self.seed)
        data_set.AccessionNumber = self.accession_number
        data_set.StudyDescription = "Synthetic thorax"
        data_set.ReferringPhysicianName = "Nobody^Known"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = "CTTHX", "99SYN"
        code.CodeMeaning = "CT of the thorax"
        data_set.ProcedureCodeSequence = Sequence([code])
        request = Dataset()
        request.RequestedProcedureID = "RP1"
        request.ScheduledProcedureStepID = "SPS1"
        request.ScheduledProcedureStepDescription = "Thorax native"
        data_set.RequestAttributesSequence = Sequence([request])

    def _series_and_equipment(self, data_set: Dataset, index: int) -> None:
        data_set.Modality = "CT"
        data_set.SeriesInstanceUID = self._uid("series")
        data_set.SeriesNumber = 1
        data_set.SeriesDescription = "Axial 1.0"
        data_set.SeriesDate, data_set.SeriesTime = "20260102", "101200.000000"
        data_set.BodyPartExamined = "CHEST"
        data_set.ProtocolName = "Thorax"
        data_set.PatientPosition = "HFS"
        data_set.Manufacturer = "Hilum Synthetic"
        data_set.ManufacturerModelName = "Generator"
        data_set.StationName = "SYNCT1"
        data_set.InstitutionName = "Synthetic Hospital"
        data_set.DeviceSerialNumber = "0001"
        data_set.SoftwareVersions = "1.0"
        data_set.FrameOfReferenceUID = self._uid("frame")
        data_set.PositionReferenceIndicator = ""
        data_set.AcquisitionNumber = 1
        data_set.AcquisitionDate = "20260102"
        data_set.AcquisitionTime = f"1012{index % 60:02d}.000000"
        data_set.ContentDate, data_set.ContentTime = "20260102", data_set.AcquisitionTime

    def _image(self, data_set: Dataset, index: int) -> None:
        data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data_set.InstanceNumber = index + 1
        data_set.ImagePositionPatient = ["-180", "-180", f"{-0.5 * index:.1f}"]
        data_set.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        data_set.SliceLocation = f"{-0.5 * index:.1f}"
        data_set.SliceThickness = "1"
        data_set.PixelSpacing = ["0.703125", "0.703125"]
        data_set.KVP, data_set.XRayTubeCurrent = "120", "250"
        data_set.ExposureTime, data_set.Exposure = "500", "125"
        data_set.ConvolutionKernel = "SYN40"
        data_set.GantryDetectorTilt = "0"
        data_set.TableHeight = "150"
        data_set.RotationDirection = "CW"
        data_set.SamplesPerPixel = 1
        data_set.PhotometricInterpretation = "MONOCHROME2"
        data_set.Rows = data_set.Columns = self.rows
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
        data_set.PixelRepresentation = 0
        data_set.WindowCenter, data_set.WindowWidth = ["40", "-600"], ["400", "1200"]
        data_set.RescaleIntercept, data_set.RescaleSlope = "-1024", "1"
        data_set.RescaleType = "HU"

    def _private(self, data_set: Dataset, index: int) -> None:
        block = data_set.private_block(0x0019, "HILUM SYNTHETIC", create=True)
        generator = random.Random(f"{self.seed}/private")
        missing = ELEMENTS - 1 - sum(1 for _ in data_set.iterall())  # PixelData is still to come
        for offset in range(min(missing, 0xF0)):
            kind = ("DS", "LO", "IS")[offset % 3]
            value = str(generator.randrange(10_000)) if kind != "LO" else f"value {offset}"
            # One in twenty differs from slice to slice, as table positions and counters do.
            block.add_new(offset, kind, str(index) if offset % 20 == 0 else value)
