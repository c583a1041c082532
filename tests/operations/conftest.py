"""One archive that the tests of packs share: to make its topics takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.settings import Settings
from tests.consumers.world import World, world_of


@pytest.fixture(scope="session")
def pack_world(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Each test uses studies of its own, and leaves sound packs behind or none."""
    with world_of(engines, tmp_path_factory.mktemp("packs")) as ready:
        yield ready
