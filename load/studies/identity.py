"""Who a synthetic instance is: UIDs and numbers of fixed width, derived from four integers.

Invariant: every value of one attribute has the same width for every identity, so that it can be
written over another's in an encoded data set; different numbers give different UIDs. It must not
draw anything at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contracts.failures import FatalError

SEED_MAX = 10**8 - 1
STUDY_MAX = 10**8 - 1
SERIES_MAX = 10**4 - 1
INSTANCE_MAX = 10**8 - 1

# 2.25.<UUID as integer> (PS3.5 B.2). 38 digits stay below 2^128 whatever they are; the first ten
# say that the UID is of this generator and of which level, the other 28 are the four numbers.
_UID_ROOT = "2.25."
_GENERATOR = "148350967"
INSTANCE_NUMBER_WIDTH = 10
SLICE_LOCATION_WIDTH = 16
STUDIES_PER_PATIENT = 3
SLICE_SPACING_MM = 0.5


class Place(StrEnum):
    """An attribute that tells instances of one template apart."""

    SOP_INSTANCE_UID = "sop_instance_uid"
    SERIES_INSTANCE_UID = "series_instance_uid"
    STUDY_INSTANCE_UID = "study_instance_uid"
    ACCESSION_NUMBER = "accession_number"
    PATIENT_ID = "patient_id"
    INSTANCE_NUMBER = "instance_number"
    SLICE_LOCATION = "slice_location"


@dataclass(frozen=True, slots=True)
class Identity:
    """One instance among all that are ever sent: seed of the run, study, series, instance.

    Raises FatalError where a number does not fit its digits. Three consecutive studies are of one
    patient, as patients come back.
    """

    seed: int
    study: int
    series: int
    instance: int

    def __post_init__(self) -> None:
        for name, value, most in (
            ("seed", self.seed, SEED_MAX),
            ("study", self.study, STUDY_MAX),
            ("series", self.series, SERIES_MAX),
            ("instance", self.instance, INSTANCE_MAX),
        ):
            if not 0 <= value <= most:
                raise FatalError(
                    f"naming a synthetic instance: {name} {value} is outside 0–{most}",
                    "choose smaller numbers",
                )

    @property
    def study_instance_uid(self) -> str:
        """The same for all instances of a study."""
        return _uid(1, self.seed, 0, self.study, 0)

    @property
    def series_instance_uid(self) -> str:
        """The same for all instances of a series."""
        return _uid(2, self.seed, self.series, self.study, 0)

    @property
    def sop_instance_uid(self) -> str:
        """This instance's alone."""
        return _uid(3, self.seed, self.series, self.study, self.instance)

    @property
    def accession_number(self) -> str:
        """16 digits, all that SH allows; one per study."""
        return f"{self.seed:08d}{self.study:08d}"

    @property
    def patient_id(self) -> str:
        """22 characters, the same for the studies of one patient."""
        return f"SYN-{self.seed:08d}-P{self.study // STUDIES_PER_PATIENT:08d}"

    @property
    def instance_number(self) -> str:
        """Counts from 1; padded with spaces, which IS allows (PS3.5 6.2)."""
        return f"{self.instance + 1:<{INSTANCE_NUMBER_WIDTH}d}"

    @property
    def slice_location(self) -> str:
        """Millimetres along the table, padded with spaces, which DS allows (PS3.5 6.2)."""
        # Modulo a table's length: ten million slices of a series are a load, not a patient.
        where = -SLICE_SPACING_MM * (self.instance % 10_000)
        return f"{where:<{SLICE_LOCATION_WIDTH}.1f}"

    def value(self, place: Place) -> bytes:
        """The value of that attribute as it stands in a data set, without padding of a UID."""
        text: str = getattr(self, place.value)
        return text.encode("ascii")


def _uid(level: int, seed: int, series: int, study: int, instance: int) -> str:
    # The study does not follow the seed: seed and study in a row are the accession number, which
    # must not be found inside a UID.
    return f"{_UID_ROOT}{_GENERATOR}{level}{seed:08d}{series:04d}{study:08d}{instance:08d}"


# The identity that templates are made with; no run uses it, its values occur nowhere else.
MARKER = Identity(seed=90817263, study=54637281, series=9182, instance=73645546)
