"""Drains one backlog with real consumer processes and tells what that took.

Invariant: consumers are warm and stopped while the backlog is written, so that neither their start
nor the publisher is in the measurement; every instance is archived and in the index at its end.
It must not leave topics or databases behind.
"""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers.catalog import spec_of
from contracts.events import Area
from contracts.failures import RetryableError
from contracts.topics import RECEIVED
from infra.clickhouse import ClickHouseDatabase
from infra.cluster_view import ClusterView
from infra.engines.local import python_environment
from infra.engines.program import Probe, Program
from infra.local_stack import local_stack_tree
from infra.migrate import migrate
from infra.object_store import S3ObjectStore
from infra.provision_bucket import provision_bucket
from infra.settings import Settings, overlay, validate
from load.growth import backlog
from load.growth.processes import Child, children, cpu_seconds
from operations.stack_files import to_toml

GROUPS = ("object-archive", "metadata-index")
WARM_STUDIES = 8
DRAIN_S_MAX = 300.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """How many of each; `consumers` are members of each group."""

    sites: int
    partitions: int
    consumers: int
    pixel_bytes: int = backlog.PIXEL_BYTES


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining `instances` took. CPU seconds by process, consumers and engines apart."""

    point: Point
    instances: int
    seconds: float
    publish_cpu_s: float
    consumers_cpu_s: Mapping[str, float]
    engines_cpu_s: Mapping[str, float]
    # Of the data sets, and what they left an instance on Kafka's disk and in packs beside them.
    size_bytes: int
    event_bytes: float
    pack_overhead_bytes: float

    def group_cpu_s(self, group: str) -> float:
        """CPU seconds of all members of a group."""
        return sum(cpu for name, cpu in self.consumers_cpu_s.items() if name.startswith(group))

    @property
    def cpu_s_per_instance(self) -> float:
        """CPU of publishing and of all consumers, one instance."""
        return (self.publish_cpu_s + sum(self.consumers_cpu_s.values())) / self.instances

    @property
    def engines_cpu_s_per_instance(self) -> float:
        """CPU of Kafka, object store and ClickHouse, one instance."""
        return sum(self.engines_cpu_s.values()) / self.instances

    @property
    def rate(self) -> float:
        """Instances archived and indexed in a second."""
        return self.instances / self.seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """Engines that run, and where their logs go."""

    offset_settings: Settings
    engines: Sequence[Child]
    directory: Path
    seed: int


def drain(bench: Bench, point: Point, instances: int) -> Drained:
    """One point on fresh topics, bucket and database. Raises RetryableError, FatalError."""
    kit = backlog.Kit(instances, point.sites, point.pixel_bytes)
    told = backlog.deliveries(bench.seed, WARM_STUDIES, kit)
    warm_kit = backlog.Kit(WARM_STUDIES * backlog.STUDY_INSTANCES, point.sites)
    warm = backlog.deliveries(bench.seed, 0, warm_kit)[:: backlog.STUDY_INSTANCES // 2]
    with _own(bench, point) as (settings, database), _consumers(bench, settings, point) as running:
        backlog.publish(settings.kafka, warm)
        _await_indexed(database, len(warm), running)
        _await_committed(settings)
        with _standing(running):
            published = backlog.publish(settings.kafka, told)
            before = cpu_seconds(running), cpu_seconds(bench.engines)
            began = time.perf_counter()
        _await_indexed(database, len(warm) + len(told), running)
        seconds = time.perf_counter() - began
        _await_committed(settings)
        after = cpu_seconds(running), cpu_seconds(bench.engines)
        weights = _weights(bench, settings, [*warm, *told])
    consumers_used, engines_used = (
        {name: late[name] - early[name] for name in late}
        for early, late in zip(before, after, strict=True)
    )
    size_bytes = sum(delivery.event.size_bytes for delivery in told)
    return Drained(
        point,
        len(told),
        seconds,
        published.cpu_s,
        consumers_used,
        engines_used,
        size_bytes,
        *weights,
    )


def _weights(
    bench: Bench, settings: Settings, deliveries: Sequence[backlog.Delivery]
) -> tuple[float, float]:
    """Bytes of an instance's event on Kafka's disk, and in packs beside its data set."""
    wire_topic = settings.kafka.topic_prefix + RECEIVED.name
    segments = (bench.directory / "kafka").rglob(f"{wire_topic}-*/*.log")
    on_kafka = sum(segment.stat().st_size for segment in segments)
    size_bytes = sum(delivery.event.size_bytes for delivery in deliveries)
    store = S3ObjectStore(settings.primary.object_store)
    in_packs = sum(pack.size_bytes for pack in store.list(f"{Area.PACKS.value}/"))
    count = len(deliveries)
    return on_kafka / count, (in_packs - size_bytes) / count


@contextmanager
def _own(bench: Bench, point: Point) -> Iterator[tuple[Settings, ClickHouseDatabase]]:
    """Settings, topics, bucket and index of one point."""
    token = uuid.uuid4().hex[:12]
    settings = _settings_of(bench, token)
    backlog.create_topics(settings.kafka, point.partitions)
    provision_bucket(settings.primary)
    migrate(settings.primary.clickhouse)
    database = ClickHouseDatabase(settings.primary.clickhouse)
    try:
        yield settings, database
    finally:
        database.command(f"DROP DATABASE IF EXISTS {database.name} SYNC")
        database.close()
        backlog.delete_topics(settings.kafka)


def _settings_of(bench: Bench, token: str) -> Settings:
    return validate(_tree_of(bench, token), "growth")


def _tree_of(bench: Bench, token: str) -> dict[str, Any]:
    port = int(bench.offset_settings.kafka.bootstrap_servers.rpartition(":")[2])
    directory = bench.directory / token
    tree = local_stack_tree(directory, port - 9092)
    own: dict[str, Any] = {
        "kafka": {"topic_prefix": f"g{token}."},
        "consumers": {name: {"http_port": 0} for name in tree["consumers"]},
        "log_level": "error",
    }
    for site in ("primary", "dr"):
        own[site] = {
            "object_store": {"bucket": f"growth-{token}"},
            "clickhouse": {"database": f"growth_{token}"},
        }
    return overlay(tree, own)


@contextmanager
def _consumers(bench: Bench, settings: Settings, point: Point) -> Iterator[list[Child]]:
    token = settings.primary.clickhouse.database.removeprefix("growth_")
    directory = bench.directory / token
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "settings.toml"
    file.write_text(to_toml(_tree_of(bench, token)), encoding="utf-8")
    names = [
        group if number == 1 else f"{group}-{number}"
        for group in GROUPS
        for number in range(1, point.consumers + 1)
    ]
    with children() as start:
        yield [start(_consumer(name, file), directory) for name in names]


def _consumer(name: str, settings_file: Path) -> Program:
    module = ("-m", "consumers", name, "--settings", str(settings_file))
    # No HTTP port is fixed, so nobody is asked: the first instances indexed say that it is ready.
    return Program(
        name=name,
        command=(sys.executable, *module),
        directory=settings_file.parent,
        probe=Probe("http", 0),
        environment=python_environment(),
    )


@contextmanager
def _standing(running: Sequence[Child]) -> Iterator[None]:
    """The consumers stand still meanwhile, in their groups (shorter than a session)."""
    for child in running:
        child.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for child in running:
            child.process.send_signal(signal.SIGCONT)


def _await_indexed(database: ClickHouseDatabase, count: int, running: Sequence[Child]) -> None:
    until = time.monotonic() + DRAIN_S_MAX
    while True:
        (row,) = database.query("SELECT count() AS n FROM instance_rows FINAL")
        found = int(str(row["n"]))
        if found >= count:
            return
        for child in running:
            child.require_running()
        if time.monotonic() > until:
            raise RetryableError(f"draining {count} instances: {found} after {DRAIN_S_MAX:.0f} s")
        time.sleep(POLL_S)


def _await_committed(settings: Settings) -> None:
    """Until both groups committed everything: what they still do belongs to what they did."""
    view = ClusterView(settings.kafka)
    until = time.monotonic() + DRAIN_S_MAX
    try:
        for group in GROUPS:
            topics = [topic.name for topic in spec_of(group).inputs]
            while any(lag.records for lag in view.group_lag(group, topics).values()):
                if time.monotonic() > until:
                    raise RetryableError(f"draining: {group} has not committed")
                time.sleep(POLL_S)
    finally:
        view.close()
