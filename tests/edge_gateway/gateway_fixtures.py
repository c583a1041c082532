"""Fixtures for the forwarder's tests: topics of its own, a modality, the centre, a forwarder.

Invariant: every process that a test started is gone when it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import ForwarderProcess, forwarder_settings, provide_topics
from tests.edge_gateway.modality import Modality, open_modality

StartForwarder = Callable[[Settings], ForwarderProcess]


@pytest.fixture
def north_settings(engine_settings: Settings) -> Settings:
    """Topics of this test alone, and gateway north."""
    provide_topics(engine_settings)
    return forwarder_settings(engine_settings)


@pytest.fixture
def modality(north_settings: Settings) -> Iterator[Modality]:
    found = open_modality(north_settings)
    yield found
    found.spool.close()


@pytest.fixture
def centre(north_settings: Settings, modality: Modality) -> Iterator[Centre]:
    found = Centre(north_settings, modality.spool.identity.gateway_id)
    yield found
    found.close()


@pytest.fixture
def start_forwarder(tmp_path: Path) -> Iterator[StartForwarder]:
    """Starts forwarders that are killed at the end of the test."""
    with processes_of(tmp_path, "forward") as start:
        yield start


@pytest.fixture
def start_mirror(tmp_path: Path) -> Iterator[StartForwarder]:
    """Starts mirror processes that are killed at the end of the test."""
    with processes_of(tmp_path, "mirror") as start:
        yield start


@contextmanager
def processes_of(directory: Path, role: str) -> Iterator[StartForwarder]:
    """Starts processes of gateway north; those that live at the end of the block are killed."""
    started: list[ForwarderProcess] = []

    def start(settings: Settings) -> ForwarderProcess:
        process = ForwarderProcess(settings, directory, role)
        started.append(process)
        return process.start()

    try:
        yield start
    finally:
        for process in started:
            process.end()
