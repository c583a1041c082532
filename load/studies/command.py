"""`load studies`: synthetic studies as Part-10 files in a folder, for any tool that reads them.

Invariant: nothing that stood in the folder is touched, for a folder that is not empty is refused;
instances and bytes are bounded before the first file is written.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydicom import dcmread

from contracts.failures import FatalError, RetryableError
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Report, Section, Table, Value, Verdict
from load.studies.cache import default_cache
from load.studies.compression import NONE, compressions_of
from load.studies.identity import SEED_MAX, Identity
from load.studies.kinds import KINDS, kind_named
from load.studies.making import templates
from load.studies.part10 import write_part10
from load.studies.template import Template
from load.studies.validity import Validity, validity

INSTANCES_MAX = 1_000_000
# Left free on the disk that is written to.
RESERVE_BYTES = 1 << 30
_EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class StudiesOptions:
    """`count` studies of each kind go to `directory`; no study has more than `instances_max`
    instances (None: as many as hospitals see). Kinds without an image stay uncompressed."""

    directory: Path
    kinds: tuple[str, ...] = tuple(KINDS)
    compression: str = NONE
    count: int = 1
    instances_max: int | None = None
    seed: int = 1
    cache: Path = field(default_factory=default_cache)


@dataclass(frozen=True, slots=True)
class _Written:
    template: Template
    compression: str
    counts: tuple[int, ...]
    elements: int
    first_file: Path
    validity: Validity

    @property
    def instances(self) -> int:
        return sum(self.counts)

    @property
    def bytes(self) -> int:
        return self.instances * len(self.template.data_set)


def run_studies(options: StudiesOptions, progress: Progress) -> Report:
    """The studies lie in `directory`/<kind>/<study>/, and the report tells what they are.

    Raises FatalError for an unknown kind or compression, a folder that is not empty, too many
    instances or too little space; RetryableError where the disk failed in between.
    """
    started_at, began = datetime.now(UTC), time.perf_counter()
    _check_bounds(options)
    kept = _templates(options, progress)
    counts = {name: _counts(options, name) for name in kept}
    _check_space(options, kept, counts)
    progress.stage("Writing studies", sum(map(sum, counts.values())), "instances")
    written, study = [], 0
    for name, (template, compression) in kept.items():
        written.append(_write(options, (template, compression), (study, counts[name]), progress))
        study += len(counts[name])
    return _report(options, started_at, time.perf_counter() - began, written)


def _check_bounds(options: StudiesOptions) -> None:
    for name in options.kinds:
        kind_named(name)
    if not options.kinds or options.count < 1 or not 0 <= options.seed <= SEED_MAX:
        raise FatalError(
            "writing studies: no kinds, no studies or a seed out of range",
            f"name a kind, a count of 1 or more and a seed of 0–{SEED_MAX}",
        )
    if options.instances_max is not None and options.instances_max < 1:
        raise FatalError("writing studies: a study of no instances", "ask for at least one")
    directory = options.directory
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FatalError(
            f"writing studies: {directory} is not an empty folder",
            "name one that is empty or does not exist yet",
        )


def _templates(options: StudiesOptions, progress: Progress) -> dict[str, tuple[Template, str]]:
    kinds = tuple(dict.fromkeys(options.kinds))
    progress.stage("Making templates", len(kinds), "kinds")
    kept = {}
    for name in kinds:
        has_others = len(compressions_of(KINDS[name])) > 1
        compression = options.compression if has_others else NONE
        kept[name] = templates(name, compression, cache=options.cache), compression
        progress.advance()
    return kept


def _counts(options: StudiesOptions, kind: str) -> tuple[int, ...]:
    generator = random.Random(f"{options.seed}/{kind}/instances")
    least, most = KINDS[kind].instances_per_study
    bound = options.instances_max or most
    return tuple(min(generator.randint(least, most), bound) for _ in range(options.count))


def _check_space(
    options: StudiesOptions,
    kept: dict[str, tuple[Template, str]],
    counts: dict[str, tuple[int, ...]],
) -> None:
    instances = sum(map(sum, counts.values()))
    if instances > INSTANCES_MAX:
        raise FatalError(
            f"writing studies: {instances:,} instances, {INSTANCES_MAX:,} at most",
            "ask for fewer studies or bound their instances",
        )
    size = sum(len(kept[name][0].data_set) * sum(of_kind) for name, of_kind in counts.items())
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(options.directory).free
    except OSError as cause:
        raise FatalError(
            f"writing studies: {options.directory} cannot be made ({cause.strerror})",
            "name a folder that you may write to",
        ) from cause
    if size + RESERVE_BYTES > free:
        raise FatalError(
            f"writing studies: {size / 1e9:.1f} GB asked for, {free / 1e9:.1f} GB free in"
            f" {options.directory}",
            "ask for fewer studies, bound their instances or compress them",
        )


def _write(
    options: StudiesOptions,
    what: tuple[Template, str],
    studies: tuple[int, tuple[int, ...]],
    progress: Progress,
) -> _Written:
    (template, compression), (first_study, counts) = what, studies
    folder = options.directory / template.kind
    for number, count in enumerate(counts):
        study = folder / f"study-{number:04d}"
        try:
            study.mkdir(parents=True)
            for instance in range(count):
                identity = Identity(options.seed, first_study + number, 0, instance)
                write_part10(study / f"{instance:06d}.dcm", template, identity)
                progress.advance()
        except OSError as cause:
            raise RetryableError(f"writing a study to {study}: {cause.strerror}") from cause
    first_file = folder / "study-0000" / "000000.dcm"
    header = dcmread(first_file, stop_before_pixels=True)
    has_pixels = KINDS[template.kind].is_image
    return _Written(
        template,
        compression,
        counts,
        sum(1 for _ in header.iterall()) + has_pixels,
        first_file,
        validity(first_file, template.transfer_syntax_uid),
    )


def _report(
    options: StudiesOptions, started_at: datetime, seconds: float, written: list[_Written]
) -> Report:
    failures = tuple(
        Failure(
            where=f"{entry.template.kind} ({entry.compression})",
            what="dciodvfy reports errors",
            count=len(entry.validity.errors),
            examples=entry.validity.errors[:_EXAMPLES_MAX],
        )
        for entry in written
        if entry.validity.errors
    )
    section = Section(
        "What was written",
        f"Every file is under {options.directory}, by kind and study.",
        (_kinds_table(written), *_remarks_table(written)),
    )
    return Report(
        command="studies",
        seed=options.seed,
        started_at=started_at,
        seconds=seconds,
        ok=not failures,
        machine=machine(options.directory),
        versions=versions("pydicom", "imagecodecs", "numpy"),
        parameters={
            "directory": str(options.directory),
            "kinds": ", ".join(options.kinds),
            "compression": options.compression,
            "count": options.count,
            "instances_max": options.instances_max,
        },
        figures=(
            _shown("studies", "Studies", "", sum(len(entry.counts) for entry in written)),
            _shown("instances", "Instances", "", sum(entry.instances for entry in written)),
            _shown("bytes", "Data sets", "MB", sum(entry.bytes for entry in written) / 1e6),
        ),
        sections=(section,),
        failures=failures,
    )


def _shown(name: str, title: str, unit: str, value: float) -> Figure:
    return Figure(name, title, unit, Verdict.SHOWN, value)


def _kinds_table(written: list[_Written]) -> Table:
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            entry.template.kind,
            entry.compression,
            len(entry.counts),
            entry.instances,
            entry.elements,
            len(entry.template.data_set),
            round(entry.bytes / 1e6, 1),
            entry.validity.text,
        )
        for entry in written
    )
    columns = (
        "kind",
        "compression",
        "studies",
        "instances",
        "elements",
        "bytes each",
        "MB",
        "dciodvfy",
    )
    return Table("Studies by kind", columns, rows, "Elements count nested ones; MB of data sets.")


def _remarks_table(written: list[_Written]) -> tuple[Table, ...]:
    rows = tuple(
        (entry.template.kind, remark)
        for entry in written
        for remark in (entry.validity.not_checked, *entry.validity.warnings)
        if remark
    )
    return (Table("Remarks of dciodvfy", ("kind", "remark"), rows),) if rows else ()
