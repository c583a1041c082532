"""A whole archive of one test's own: topics, buckets, databases, and proxies before the engines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consumers.runner import Runner
from consumers.spec import ConsumerSpec, Writer
from contracts.events import InstanceReceived
from contracts.topics import (
    PACK_ARCHIVED,
    PACK_REPLICATED,
    RECEIPT,
    RECEIVED,
    Topic,
)
from infra.connect import Engines, connect
from infra.provision import provision
from infra.settings import ConsumerSettings, Settings, validate
from infra.telemetry import Metrics
from tests.consumers import story
from tests.consumers.bus import Bus
from tests.consumers.index_database import isolated_in
from tests.consumers.story import Delivery
from tests.engines import _to_json, delete_topics, isolated_settings
from tests.polling import eventually, succeeded
from tests.tcp_proxy import TcpProxy

STOP_S = 120.0
# Several batches in a story of a few dozen deliveries.
SMALL_BATCHES = ConsumerSettings(batch_records_max=16, batch_age_ms_max=200)
WrapWriter = Callable[[Writer], Writer]
Told = Mapping[Topic, Sequence[Any]]


@dataclass
class World:
    """`settings` reach the engines themselves, `proxied` through proxies that can be shut."""

    settings: Settings
    proxied: Settings
    proxies: list[TcpProxy]
    bus: Bus
    engines: Engines
    directory: Path

    def shut_sinks(self) -> None:
        """Object stores and databases of both sites go away."""
        for proxy in self.proxies:
            proxy.shut()

    def open_sinks(self) -> None:
        """They come back."""
        for proxy in self.proxies:
            proxy.open()

    def tell(self, told: Sequence[Delivery], inputs: Sequence[Topic]) -> Told:
        """What the inputs say of these deliveries; their bytes and packs are there on return."""
        events: dict[Topic, Sequence[Any]] = {}
        if RECEIVED in inputs:
            events[RECEIVED] = self._with_payload(told)
        if PACK_ARCHIVED in inputs or PACK_REPLICATED in inputs:
            store = self.engines.primary.object_store
            packs = story.store_packs(told, store, self.engines.primary.name, self.directory)
            events |= {PACK_ARCHIVED: packs, PACK_REPLICATED: story.replicated(packs)}
        if RECEIPT in inputs:
            events[RECEIPT] = story.receipts(told)
        assert set(inputs) <= set(events), "a story that knows this consumer's inputs"
        return {topic: events[topic] for topic in inputs}

    def publish(self, events: Sequence[Any]) -> None:
        """Events on their topics; acknowledged on return."""
        self.bus.publish_events([(event, story.key_of(event)) for event in events])

    def wait_committed(self, spec: ConsumerSpec) -> None:
        """Returns once the consumer's group has committed all there is."""
        eventually(lambda: self.bus.lag(spec.name, list(spec.inputs)) == 0, "all committed")

    def _with_payload(self, told: Sequence[Delivery]) -> list[InstanceReceived]:
        partition_of: dict[str, int] = {}
        offsets: dict[str, list[int]] = {}
        chunks = [
            (chunk, story.key_of(delivery.event))
            for delivery in told
            for chunk in story.chunks_of(delivery)
        ]
        for (chunk, _), at in zip(chunks, self.bus.publish_events(chunks), strict=True):
            partition_of[chunk.delivery_id] = at.partition
            offsets.setdefault(chunk.delivery_id, []).append(at.offset)
        return [
            replace(
                d.event,
                payload_partition=partition_of[d.event.delivery_id],
                payload_offsets=tuple(offsets[d.event.delivery_id]),
            )
            for d in told
        ]


class Member:
    """One member of a consumer's group, on a thread of its own, through the proxies."""

    def __init__(
        self,
        world: World,
        spec: ConsumerSpec,
        number: int = 1,
        wrap: WrapWriter = lambda writer: writer,
    ) -> None:
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        name = spec.name if number == 1 else f"{spec.name}-{number}"
        self._engines = connect(world.proxied, name, Metrics())
        wrapped = replace(spec, build=lambda engines: wrap(spec.build(engines)))
        self.runner = Runner(wrapped, self._engines, SMALL_BATCHES, self._stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.runner.run()
        except BaseException as failure:  # noqa: BLE001 - handed to the test, which fails with it
            self.failure = failure

    def wait_reason(self, part: str) -> None:
        """Returns once the readiness says this."""
        eventually(lambda: part in self.runner.readiness.reason, f"readiness: {part}")

    def stop(self) -> None:
        """Stops it; fails if it failed."""
        self._stop.set()
        self._thread.join(STOP_S)
        assert not self._thread.is_alive(), "asked to stop, still running"
        self._engines.close()
        if self.failure is not None:
            raise self.failure


@contextmanager
def member_of(
    world: World, spec: ConsumerSpec, number: int = 1, **options: Any
) -> Iterator[Member]:
    """A running member for the length of a block."""
    member = Member(world, spec, number, **options)
    try:
        yield member
    finally:
        member.stop()


@contextmanager
def world_of(settings: Settings, directory: Path) -> Iterator[World]:
    """A provisioned world for the length of a block, with databases of its own."""
    with _world(isolated_settings(settings, directory), directory) as world:
        try:
            yield world
        finally:
            for site in (world.engines.primary, world.engines.dr):
                site.database.command(f"DROP DATABASE IF EXISTS {site.database.name} SYNC")


@contextmanager
def world_in(databases: Settings, directory: Path) -> Iterator[World]:
    """A provisioned world for the length of a block, in databases that were migrated before."""
    with _world(isolated_in(databases, directory), directory) as world:
        yield world


@contextmanager
def _world(own: Settings, directory: Path) -> Iterator[World]:
    succeeded(lambda: provision(own), "the engines are provisioned")
    proxied, proxies = _proxied(own)
    world = World(own, proxied, proxies, Bus(own.kafka), connect(own, "test", Metrics()), directory)
    try:
        yield world
    finally:
        for proxy in proxies:
            proxy.close()
        world.engines.close()
        world.bus.close()
        delete_topics(own)


def settings_file(settings: Settings, path: Path) -> Path:
    """Settings as JSON, for a child process of a test."""
    path.write_text(_to_json(settings))
    return path


def _proxied(settings: Settings) -> tuple[Settings, list[TcpProxy]]:
    tree = json.loads(_to_json(settings))
    proxies = []
    for site in ("primary", "dr"):
        store, database = tree[site]["object_store"], tree[site]["clickhouse"]
        host, _, port = store["endpoint"].rpartition(":")
        to_store, to_database = TcpProxy(host, int(port)), TcpProxy("127.0.0.1", database["port"])
        store["endpoint"] = f"127.0.0.1:{to_store.port}"
        database["port"] = to_database.port
        proxies += [to_store, to_database]
    return validate(tree, "tests"), proxies
