"""One cluster of three brokers for all tests of this directory, whole again before each of them.

Invariant: nothing is started before a test asks for it, and everything is ended by its own pid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.provision_topics import provision_topics
from infra.settings import Settings
from tests.engines import delete_topics, isolated_settings
from tests.faults.cluster.three_brokers import Cluster, start_cluster
from tests.faults.cluster.whole_way import WholeWay, whole_way_of


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started by the first test that asks."""
    running = start_cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.stop()


@pytest.fixture
def cluster(brokers: Cluster) -> Iterator[Cluster]:
    """All three brokers run when a test begins, and again when it ends."""
    brokers.heal()
    yield brokers
    brokers.heal()


@pytest.fixture
def cluster_settings(cluster: Cluster, tmp_path: Path) -> Iterator[Settings]:
    """The cluster with topics of this test alone, in sync on all three brokers."""
    settings = isolated_settings(cluster.settings, tmp_path)
    provision_topics(settings.kafka)
    cluster.wait_in_sync(settings.kafka)
    yield settings
    cluster.heal()
    delete_topics(settings)


@pytest.fixture
def whole_way(cluster_settings: Settings, engines: Settings, tmp_path: Path) -> Iterator[WholeWay]:
    """A gateway's spool, the cluster, an object store and an index of this test's own."""
    with whole_way_of(cluster_settings, engines, tmp_path) as ready:
        yield ready
