"""The scripts under examples/clickhouse answer on an index with something in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.index_writer import IndexWriter
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.migrate import migrate
from infra.settings import ClickHouseSettings, Settings
from tests.consumers.index_events import archived, content, header, received
from tests.engines import isolated_settings

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "clickhouse"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
ANSWER_TIMEOUT_S = 200


@pytest.fixture(scope="module")
def index(
    engines: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClickHouseSettings]:
    settings = isolated_settings(engines, tmp_path_factory.mktemp("examples")).primary.clickhouse
    migrate(settings)
    database = ClickHouseDatabase(settings)
    now = datetime.now(UTC)
    keys = [content(1), content(2), content(1, study=2)]
    events = [
        received(key, n, received_at=now, site="south" if n == 3 else "north")
        for n, key in enumerate(keys, 1)
    ]
    events[2] = replace(events[2], calling_ae_title="MR7", header=header(x00080060=["MR"]))
    pack = archived([(key, n) for n, key in enumerate(keys, 1)])
    pack = replace(pack, archived_at=now + timedelta(seconds=2.5))
    IndexWriter(database, SystemClock()).write(received=events, archived=[pack])
    yield settings
    database.command(f"DROP DATABASE {database.name}")
    database.close()


def lines_of(script: str, index: ClickHouseSettings) -> list[list[str]]:
    """What a script prints, in words, without its heading."""
    command = [sys.executable, str(FOLDER / script), "--port", str(index.port)]
    command += ["--database", index.database]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_every_script_has_a_test() -> None:
    assert SCRIPTS == [
        "bytes_per_modality.py",
        "slowest_ae_titles.py",
        "studies_per_site_and_day.py",
    ]


def test_studies_per_site_and_day(index: ClickHouseSettings) -> None:
    told = lines_of("studies_per_site_and_day.py", index)
    assert [(line[0], *line[2:4]) for line in told] == [("north", "1", "2"), ("south", "1", "1")]


def test_bytes_per_modality(index: ClickHouseSettings) -> None:
    assert lines_of("bytes_per_modality.py", index) == [
        ["CT", "2", "1", "1.1", "525.0"],
        ["MR", "1", "1", "0.5", "525.0"],
    ]


def test_slowest_ae_titles(index: ClickHouseSettings) -> None:
    told = lines_of("slowest_ae_titles.py", index)
    assert [line[:5] for line in told] == [
        ["north", "CT1", "2", "2.50", "2.50"],
        ["south", "MR7", "1", "2.50", "2.50"],
    ]
