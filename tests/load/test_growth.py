"""Growth: filling goes in by the product's writer, goes on where it was, and is told honestly."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.failures import FatalError
from infra.clickhouse import ClickHouseDatabase
from infra.settings import ClickHouseSettings, Settings
from load.growth import Axis, GrowthOptions
from load.growth.archive import CONFLICT_EVERY, study
from load.growth.exponent import fit
from load.growth.headers import full_header, short_header
from load.growth.options import Effort
from load.growth.questions import QUESTIONS
from load.growth.rows import Grown, grow_on
from load.growth.state import SizeState, StateFile
from load.growth.tell_rows import rows_figures, rows_sections
from load.growth.told import told
from load.progress import Progress
from load.report.model import Verdict
from tests.engines import isolated_settings

SEED = 7
LITTLE = Effort(
    rounds=3, probe_studies=2, probe_instances=40, large_studies=1, asked=3, probes_weighed=2
)


@pytest.fixture
def index_settings(engines: Settings, tmp_path: Path) -> Iterator[ClickHouseSettings]:
    """A name of this test's own; databases of the sizes begin with it."""
    settings = isolated_settings(engines, tmp_path).primary.clickhouse
    yield settings
    server = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    sql = "SELECT name FROM system.databases WHERE startsWith(name, {name:String})"
    for row in server.query(sql, {"name": settings.database}):
        server.command(f"DROP DATABASE {row['name']} SYNC")
    server.close()


def test_a_fill_goes_on_where_it_was_and_is_measured(
    index_settings: ClickHouseSettings, tmp_path: Path
) -> None:
    options = GrowthOptions(seed=SEED, rows_max=6_000, sizes=(2_000,), effort=LITTLE)
    kept = StateFile(tmp_path, SEED)
    first = _grow(replace(options, rows_max=2_000, sizes=()), index_settings, kept)
    assert first.rows_found == 0 and first.rows_filled >= 2_000

    second = _grow(options, index_settings, StateFile(tmp_path, SEED))
    assert second.rows_found == first.rows_filled
    assert [one.rows_wanted for one in second.measured] == [2_000, 6_000]
    small, large = second.measured
    assert large.size.rows >= 6_000 and small.size.rows < large.size.rows
    assert all(probe.cpu_s > 0 and probe.compose_s > 0 for probe in large.probes)
    rows_of = {times.name: times.rows_median for times in large.queries}
    assert set(rows_of) == {question.name for question in QUESTIONS}
    assert rows_of["metadata_1000"] == 1_000
    assert rows_of["where_sop"] >= 1 and rows_of["studies_by_accession"] == 1

    figures = {figure.name: figure for figure in rows_figures(second, SEED)}
    # Six thousand rows prove nothing about ten million.
    assert Verdict.MET not in {figure.verdict for figure in figures.values()}
    assert figures["growth.unit.index_bytes"].value
    assert f"{second.rows_found:,} rows were there" in rows_sections(second)[0].text


def test_a_repeated_batch_is_the_same_rows(
    index_settings: ClickHouseSettings, tmp_path: Path
) -> None:
    options = GrowthOptions(seed=SEED, rows_max=3_000, effort=LITTLE)
    kept = StateFile(tmp_path, SEED)
    _grow(options, index_settings, kept)
    own = index_settings.model_copy(update={"database": f"{index_settings.database}_3000"})
    before = _counts(own)
    # A run that was killed between the insert and the state has less in its state than in rows.
    kept.put(kept.size(3_000).model_copy(update={"rows": 1, "next_study": 0}))
    _grow(options, index_settings, kept)
    after = _counts(own)
    probes = after["instances"] - before["instances"]
    assert probes == 4 * 2 * 40, "the probes of the second run and nothing else"


def test_another_seed_is_refused(tmp_path: Path) -> None:
    kept = StateFile(tmp_path, SEED)
    kept.put(SizeState(rows_wanted=1_000, rows=10))
    with pytest.raises(FatalError, match=f"--seed {SEED}"):
        StateFile(tmp_path, SEED + 1)
    (tmp_path / "growth.json").write_text("{}")
    with pytest.raises(FatalError, match="no state of a fill"):
        StateFile(tmp_path, SEED)


@pytest.mark.parametrize("exponent", [0.0, 0.04, 0.5, 1.0])
def test_the_exponent_of_known_costs_is_found(exponent: float) -> None:
    ns = [10_000.0, 100_000.0, 1_000_000.0, 10_000_000.0]
    law = fit(ns, [3.0 * n**exponent for n in ns])
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.at(50_000) == pytest.approx(3.0 * 50_000**exponent)
    print("seed 1")
    noise = random.Random(1)
    noisy = fit(ns * 5, [3.0 * n**exponent * math.exp(noise.gauss(0, 0.05)) for n in ns * 5])
    assert noisy is not None and noisy.low < exponent < noisy.high


def test_too_few_points_have_no_exponent() -> None:
    assert fit([1, 10], [1, 2]) is None
    assert fit([5, 5, 5], [1, 2, 3]) is None


def test_a_study_follows_from_seed_and_number() -> None:
    assert study(SEED, 12) == study(SEED, 12) != study(SEED + 1, 12)
    keys = [key for number in range(60) for _, key in study(SEED, number).contents()]
    assert len(set(keys)) == len(keys)
    one = study(SEED, CONFLICT_EVERY)
    uids = [key.sop_instance_uid for _, key in one.contents()]
    assert len(uids) == one.rows == len(set(uids)) + 1
    assert all(len(uid) <= 64 and int(uid.split(".")[1]) < 2**128 for uid in uids)


def test_headers_name_their_instance() -> None:
    one = study(SEED, 24)
    key = one.content(5)
    for header in (short_header(one, 5, key), full_header(one, 5, key)):
        model = json.loads(header)
        assert model["00080018"]["Value"] == [key.sop_instance_uid]
        assert model["00200013"]["Value"] == [6]
        assert model["00080060"]["Value"] == [one.kind.modality]
        assert list(model) == sorted(model)
    assert len(json.loads(full_header(one, 5, key))) > 150
    events = told([one], 0, is_full=False)
    assert len(events.received) == len(events.archived[0].members) == one.rows


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rows_max": 0}, "rows_max"),
        ({"rows_max": 10**12}, "rows_max"),
        ({"seed": -1}, "seed"),
        ({"events": 1}, "events"),
        ({"axes": ()}, "axis"),
    ],
)
def test_wrong_options_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(FatalError, match=named):
        GrowthOptions(**changes)  # type: ignore[arg-type]


def test_sizes_are_tenths() -> None:
    assert GrowthOptions().sizes_asked() == (10_000, 100_000, 1_000_000, 10_000_000)
    assert GrowthOptions(rows_max=5_000).sizes_asked() == (5_000,)
    assert set(GrowthOptions().axes) == set(Axis)


def _grow(options: GrowthOptions, settings: ClickHouseSettings, kept: StateFile) -> Grown:
    with Progress() as progress:
        return grow_on(options, settings, None, kept, progress)


def _counts(settings: ClickHouseSettings) -> dict[str, int]:
    database = ClickHouseDatabase(settings)
    try:
        return {
            view: int(str(database.query(f"SELECT count() AS n FROM {view}")[0]["n"]))
            for view in ("instances", "deliveries", "studies")
        }
    finally:
        database.close()
