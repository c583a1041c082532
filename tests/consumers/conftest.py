"""What tests of consumers share: databases that are migrated once, and a world of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.consumers.index_database import database, databases, index_settings
from tests.consumers.world import World, world_in

__all__ = ["database", "databases", "index_settings", "world"]


@pytest.fixture
def world(databases: Settings, tmp_path: Path) -> Iterator[World]:
    """Topics and buckets of this test's own, empty databases."""
    with world_in(databases, tmp_path) as ready:
        yield ready
