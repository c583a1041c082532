"""`load compare`: every goal measured beside its peer in one run, as one report.

Invariant: whatever breaks, the report has a row for every goal, and what broke is among the
failures. It must not write the report, nor run two measurements at once.
"""

from __future__ import annotations

import difflib
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from contracts.failures import FatalError, HilumError
from load.compare.bench import SECONDS_PLANNED, Bench, Measured, Measurement, Mode, sample_seconds
from load.compare.goals import Samples, figures_of
from load.compare.measurements import measurements
from load.compare.pace import Pace
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Report, Section, Table, Verdict
from load.senders import StockProgram, stock_version
from operations.context import DEFAULT_STATE_DIRECTORY

PACKAGES = ("pydicom", "pynetdicom", "kafka-python", "fastavro", "chdb", "numpy", "scipy")
SEED_MAX = 10**8 - 1


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """`only`: keys of measurements, all when empty. `require_met`: a missed goal is a failure.
    `stock`: which program of DCMTK's the stock columns are sent by.

    `reports` is where earlier reports lie (growth's figures come from there); samples, spools and
    a private stack go to a temporary directory below `scratch` (None: the system's).
    """

    mode: Mode = Mode.QUICK
    only: tuple[str, ...] = ()
    seed: int = 1
    require_met: bool = False
    with_profile: bool = False
    stock: StockProgram = "storescu"
    reports: Path = field(default_factory=lambda: DEFAULT_STATE_DIRECTORY / "reports")
    scratch: Path | None = None


def run_compare(options: CompareOptions, progress: Progress) -> Report:
    """The report of one comparison; about 5 minutes at most when quick, 20 when full.

    `ok` is false when something failed: a receiver refused, an instance was lost, a measurement
    broke. A missed goal alone is no failure: an instrument that ends with an error whenever the
    truth is unwelcome is soon run with its exit code ignored. `require_met` asks for it.
    Raises FatalError for a seed or a measurement that does not exist.
    """
    chosen = _chosen(options)
    began_at, began = datetime.now(UTC), time.perf_counter()
    described = machine(options.scratch or Path(tempfile.gettempdir()))
    sample_s = sample_seconds(chosen, SECONDS_PLANNED[options.mode])
    with tempfile.TemporaryDirectory(prefix="hilum-compare-", dir=options.scratch) as scratch:
        bench = Bench(
            mode=options.mode,
            seed=options.seed,
            sample_s=sample_s,
            directory=Path(scratch),
            reports=options.reports,
            with_profile=options.with_profile,
            stock=options.stock,
            pace=Pace(progress),
        )
        told, taken_s = _measured(chosen, bench, progress)
    figures = _figures(told, options.seed)
    failures = tuple(failure for one in told.values() for failure in one.failures)
    missed = [figure.name for figure in figures if figure.verdict is Verdict.MISSED]
    if options.require_met and missed:
        failures += (Failure("goals", "missed", len(missed), tuple(missed)),)
    return Report(
        command="compare",
        seed=options.seed,
        started_at=began_at,
        seconds=time.perf_counter() - began,
        ok=not failures,
        machine=described,
        versions=_versions(told.values(), options.stock),
        parameters={
            "mode": options.mode.value,
            "measurements": " ".join(measurement.key for measurement in chosen),
            "sample_s": round(sample_s, 2),
            "pairs": bench.rounds,
            "stock sender": options.stock,
        },
        figures=figures,
        sections=(
            _goals_section(figures),
            *(section for one in told.values() for section in one.sections),
            _time_section(chosen, sample_s, taken_s),
        ),
        failures=failures,
    )


def _chosen(options: CompareOptions) -> tuple[Measurement, ...]:
    if not 0 <= options.seed <= SEED_MAX:
        raise FatalError(f"the seed is {options.seed}", f"give 0 to {SEED_MAX}")
    known = {measurement.key: measurement for measurement in measurements(options.mode)}
    for key in options.only:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise FatalError(f"{key!r} is no measurement", hint)
    return tuple(one for key, one in known.items() if not options.only or key in options.only)


def _measured(
    chosen: Sequence[Measurement], bench: Bench, progress: Progress
) -> tuple[dict[str, Measured], dict[str, float]]:
    """Each measurement's result and seconds by its key; one that broke gives its failure."""
    total = sum(measurement.estimate_s(bench.sample_s) for measurement in chosen)
    progress.stage("comparing", round(total), "s of the plan")
    told: dict[str, Measured] = {}
    taken_s: dict[str, float] = {}
    for measurement in chosen:
        began = time.perf_counter()
        planned = measurement.estimate_s(bench.sample_s)
        progress.note(f"{measurement.title} (about {planned:.0f} s)")
        bench.pace.begin(planned)
        try:
            told[measurement.key] = measurement.measure(bench)
        except (HilumError, OSError) as cause:
            told[measurement.key] = _broken(measurement, cause)
            progress.note(f"{measurement.title}: {cause}")
        bench.pace.end()
        taken_s[measurement.key] = time.perf_counter() - began
    return told, taken_s


def _broken(measurement: Measurement, cause: Exception) -> Measured:
    return Measured(
        failures=(Failure(measurement.title, f"{type(cause).__name__}: {cause}", 1),),
        absent={measurement.key: f"the measurement broke: {cause}"},
    )


def _figures(told: dict[str, Measured], seed: int) -> tuple[Figure, ...]:
    samples: dict[str, Samples] = {}
    ready: list[Figure] = []
    absent: dict[str, str] = {}
    for one in told.values():
        samples |= one.samples
        ready.extend(one.figures)
        absent |= one.absent
    return figures_of(samples, ready, absent, seed)


def _versions(told: Iterable[Measured], stock: StockProgram) -> dict[str, str]:
    found = dict(versions(*PACKAGES)) | {stock: stock_version(stock) or "not installed"}
    for one in told:
        found |= one.versions
    return found


def _goals_section(figures: Sequence[Figure]) -> Section:
    counts = {verdict: 0 for verdict in Verdict}
    for figure in figures:
        counts[figure.verdict] += 1
    rows = tuple((verdict.value, count) for verdict, count in counts.items())
    return Section(
        "Verdicts",
        "A goal is met when the whole 90 % interval lies on its good side, missed when it lies"
        " on the other, else undecided. Ratios are geometric means over pairs measured back to"
        " back in this run.",
        tables=(Table("Figures by verdict", ("verdict", "figures"), rows),),
    )


def _time_section(
    chosen: Sequence[Measurement], sample_s: float, taken_s: dict[str, float]
) -> Section:
    rows = tuple(
        (one.title, round(one.estimate_s(sample_s)), round(taken_s[one.key])) for one in chosen
    )
    return Section(
        "Where the run's own time went",
        tables=(Table("Measurements", ("measurement", "planned, s", "taken, s"), rows),),
    )
