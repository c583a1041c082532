"""One gateway for each module of hostile peers: it has to live through all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.hostile.raw_peer import RawPeer, data_set, store_command
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    association_threads,
    eventually,
    running_gateway,
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("spool")) as running:
        with RawPeer(running.port) as first:
            first.associate()
            assert first.store(store_command(), data_set()) == 0
        eventually(lambda: association_threads() == 0)
        yield running
