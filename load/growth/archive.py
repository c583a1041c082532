"""A synthetic archive of any size: study after study, each following from the seed and its number.

Invariant: the same seed and number give the same study and the same identities, so that a fill
which was stopped repeats its last batch onto itself. Studies of ten years come in no order, as in
a migration, which is the worst case for every index by date. No patient data.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from contracts.identity import ContentKey

FIRST_DATE = date(2016, 1, 1)
DATES = 3_652
SITES = 8
# Every 25th study is a CT of exactly this many slices, to ask for its metadata.
LARGE_EVERY, LARGE_INSTANCES = 25, 1_000
# Every 50th study holds one SOP Instance twice, with other bytes: a conflict.
CONFLICT_EVERY = 50
STUDIES_PER_PATIENT = 3
_ARRIVAL = datetime(2026, 1, 1, tzinfo=UTC)
# The pace at which the synthetic studies arrive; only the clock in the rows depends on it.
_INSTANCES_PER_S = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """One modality of the mix: its share, and how many instances and series a study has."""

    modality: str
    sop_class_uid: str
    weight: int
    instances: tuple[int, int]
    series: tuple[int, int]
    description: str
    size_bytes: int


_ROOT = "1.2.840.10008.5.1.4.1.1."
KINDS = (
    Kind("CT", _ROOT + "2", 30, (100, 1_500), (1, 5), "CT thorax", 525_000),
    Kind("MR", _ROOT + "4", 20, (100, 800), (5, 12), "MR brain", 300_000),
    Kind("DX", _ROOT + "1.1", 30, (1, 4), (1, 2), "Chest two views", 15_000_000),
    Kind("US", _ROOT + "6.1", 10, (10, 60), (1, 1), "US abdomen", 900_000),
    Kind("MG", _ROOT + "1.2", 6, (4, 8), (1, 1), "Screening", 27_000_000),
    Kind("PT", _ROOT + "128", 2, (300, 900), (1, 3), "PET whole body", 40_000),
    Kind("SR", _ROOT + "88.33", 2, (1, 3), (1, 1), "Report", 20_000),
)
_WEIGHTS = tuple(kind.weight for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Study:
    """One study, decided by (seed, number)."""

    number: int
    kind: Kind
    instances: int
    series: int
    patient: int
    study_date: date
    site: str
    uid_stem: str

    @property
    def study_instance_uid(self) -> str:
        return f"{self.uid_stem}0000000000"

    @property
    def patient_id(self) -> str:
        return f"SYN{self.patient:08d}"

    @property
    def accession_number(self) -> str:
        return f"A{self.number:09d}"

    def series_instance_uid(self, series: int) -> str:
        """The UID of the series-th series, counted from 1."""
        return f"{self.uid_stem}{series:04d}000000"

    def content(self, instance: int, version: int = 0) -> ContentKey:
        """The instance-th content, counted from 0; another version is other bytes."""
        series = 1 + instance * self.series // self.instances
        uid = f"{self.uid_stem}{series:04d}{instance + 1:06d}"
        sha256 = hashlib.sha256(f"{uid}/{version}".encode()).hexdigest()
        return ContentKey(self.study_instance_uid, self.series_instance_uid(series), uid, sha256)

    def contents(self) -> Iterator[tuple[int, ContentKey]]:
        """Every content with its instance's number."""
        for instance in range(self.instances):
            yield instance, self.content(instance)
        if self.number % CONFLICT_EVERY == 0:
            yield 0, self.content(0, version=1)

    @property
    def rows(self) -> int:
        """How many contents `contents` yields."""
        return self.instances + (self.number % CONFLICT_EVERY == 0)


def study(seed: int, number: int) -> Study:
    """The study of that number."""
    generator = random.Random(f"{seed}/study/{number}")
    if number % LARGE_EVERY == LARGE_EVERY - 1:
        kind, instances, series = KINDS[0], LARGE_INSTANCES, 4
    else:
        kind = generator.choices(KINDS, _WEIGHTS)[0]
        low, high = kind.instances
        instances = round(low * (high / low) ** generator.random())
        series = min(generator.randint(*kind.series), instances)
    return Study(
        number=number,
        kind=kind,
        instances=instances,
        series=series,
        patient=generator.randrange(number // STUDIES_PER_PATIENT + 1),
        study_date=FIRST_DATE + timedelta(days=generator.randrange(DATES)),
        site=f"site-{generator.randrange(SITES) + 1}",
        # 2.25.<38 digits> (PS3.5 B.2): 28 of the study, 4 of the series, 6 of the instance. The
        # first digit is not 0, and 38 digits from 1 to 2 stay below 2^128.
        uid_stem=f"2.25.{10**27 + generator.randrange(10**27)}",
    )


def arrived_at(row: int) -> datetime:
    """When the row-th instance of the archive was received."""
    return _ARRIVAL + timedelta(seconds=row / _INSTANCES_PER_S)


def delivery_id(content: ContentKey, received_at: datetime) -> str:
    """A UUIDv7 by form (RFC 9562), in the order of acceptance, the same in every run."""
    milliseconds = int(received_at.timestamp() * 1000)
    tail = content.content_sha256
    high = f"{milliseconds:012x}"
    return f"{high[:8]}-{high[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"
