"""From a gateway's spool through the cluster into an archive and an index, as real processes.

Invariant: what the modality stored is the truth; what arrived is read from the topics, the bucket
and the tables alone. Every process is ended with the block.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from consumers.metadata_index import SPEC as INDEX
from contracts.events import InstanceReceived
from infra.clickhouse import ClickHouseDatabase
from infra.migrate import migrate
from infra.object_store import S3ObjectStore
from infra.provision_bucket import provision_bucket
from infra.settings import Settings, validate
from operations.stack_files import to_toml
from tests.consumers.bus import Bus, bus_of
from tests.consumers.consumer_process import ConsumerProcess
from tests.consumers.final_states import instances, packs_in
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import ForwarderProcess, forwarder_settings
from tests.edge_gateway.modality import Modality, open_modality
from tests.engines import _to_json

STUDY = "1.2.826.0.1.3680043.8.498.700"
STUDIES = 6
PAUSE_S = 0.1
CONSUMERS = ("object-archive", "metadata-index")


@dataclass
class WholeWay:
    """The parts, and the modality's truth."""

    settings: Settings
    modality: Modality
    centre: Centre
    bus: Bus
    directory: Path
    stack: ExitStack

    def forward(self) -> ForwarderProcess:
        """Starts the forwarder."""
        process = ForwarderProcess(self.settings, self.directory).start()
        self.stack.callback(process.end)
        return process

    def consume(self, name: str) -> ConsumerProcess:
        """Starts one consumer."""
        path = self.directory / "consumer-settings.toml"
        path.write_text(to_toml(json.loads(_to_json(self.settings))))
        process = ConsumerProcess(name, path, self.directory)
        self.stack.callback(process.end)
        return process

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Stores in several studies, one association each, until the block ends."""
        stop = threading.Event()

        def store() -> None:
            associations = [self.modality.associate() for _ in range(STUDIES)]
            while not stop.wait(PAUSE_S):
                study = len(self.modality.order) % STUDIES
                self.modality.store(associations[study], f"{STUDY}.{study}")
            for association in associations:
                self.modality.release(association)

        thread = threading.Thread(target=store, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def published(self) -> int:
        """Different deliveries whose event stands on its topic."""
        return len(self.centre.received_ids())

    def require_order(self) -> None:
        """First deliveries of each study stand in the order of their acceptance (I3)."""
        first: dict[str, list[str]] = {}
        for event in self.centre.received():
            ids = first.setdefault(event.content.study_instance_uid, [])
            if event.delivery_id not in ids:
                ids.append(event.delivery_id)
        assert sorted(i for ids in first.values() for i in ids) == sorted(self.modality.order)
        place = {delivery_id: n for n, delivery_id in enumerate(self.modality.order)}
        for study, ids in first.items():
            assert ids == sorted(ids, key=lambda each: place[each]), f"the order of {study}"

    def is_through(self) -> bool:
        """Whether both consumers have committed everything and the index has every instance."""

        if self.published() < len(self.modality.order):
            return False
        if self.bus.lag(INDEX.name, list(INDEX.inputs)) > 0:
            return False
        return len(self._instances()) >= len(self.modality.order)

    def require_exact(self) -> None:
        """The archive has each delivery's bytes, the index each instance and delivery once."""
        store = S3ObjectStore(self.settings.primary.object_store)
        packed = [member for pack in packs_in(store).values() for member in pack.items()]
        assert dict(packed) == self.modality.stored
        assert len(self._instances()) == len(self.modality.order)
        database = ClickHouseDatabase(self.settings.primary.clickhouse)
        rows = database.query("SELECT delivery_id, status FROM deliveries")
        database.close()
        told = Counter(str(row["delivery_id"]) for row in rows)
        assert told == Counter(self.modality.order)

    def repeated(self) -> int:
        """Records on the wire beyond the first of each delivery."""
        events: list[InstanceReceived] = self.centre.received()
        return len(events) - len({event.delivery_id for event in events})

    def _instances(self) -> set[tuple[str, str]]:
        database = ClickHouseDatabase(self.settings.primary.clickhouse)
        try:
            return instances(database)
        finally:
            database.close()


@contextmanager
def whole_way_of(cluster: Settings, engines: Settings, directory: Path) -> Iterator[WholeWay]:
    """A gateway, a provisioned bucket and a migrated index; no process runs yet."""
    settings = _joined(cluster, engines)
    provision_bucket(settings.primary)
    migrate(settings.primary.clickhouse)
    with ExitStack() as stack:
        modality = open_modality(settings)
        stack.callback(modality.spool.close)
        centre = Centre(settings, modality.spool.identity.gateway_id)
        stack.callback(centre.close)
        bus = stack.enter_context(bus_of(settings.kafka))
        database = ClickHouseDatabase(settings.primary.clickhouse)
        stack.callback(database.close)
        stack.callback(database.command, f"DROP DATABASE IF EXISTS {database.name} SYNC")
        yield WholeWay(settings, modality, centre, bus, directory, stack)


def _joined(cluster: Settings, engines: Settings) -> Settings:
    """The cluster's Kafka with the other engines' addresses, names as isolated as before."""
    tree = json.loads(_to_json(forwarder_settings(cluster)))
    others = json.loads(_to_json(engines))
    for site in ("primary", "dr"):
        for part, own in (("object_store", "bucket"), ("clickhouse", "database")):
            tree[site][part] = others[site][part] | {own: tree[site][part][own]}
    return validate(tree, "tests")
