"""Two sites that are both active: each with a bus, an archive and an index of its own.

The first site archives in its bucket and copies to the second's; the second one, which was
promoted, does the same the other way round. Between them lies a line that can be cut.
Invariant: both use the same two buckets and databases, and share nothing else.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from consumers import dr_replica, metadata_index, object_archive
from contracts.identity import DeliveryIds
from contracts.topics import RECEIVED
from infra.settings import Settings, validate
from tests.consumers.story import Delivery
from tests.consumers.world import World, _world, member_of, world_of
from tests.engines import _to_json
from tests.faults.archive_reading import Site, client_of, query
from tests.faults.checker import broken, check
from tests.faults.history import OK, SENT, History
from tests.faults.pipeline import site_of
from tests.polling import eventually

SPECS = (object_archive.SPEC, metadata_index.SPEC, dr_replica.SPEC)
# The proxies of a world stand before the primary store and index first, then before the second's.
OF_THE_LINE = slice(2, 4)
LINE = "line between the sites"
_ids = DeliveryIds()


@dataclass(frozen=True)
class ActiveSite:
    """One site that takes images, and its running members."""

    name: str
    world: World
    members: ExitStack

    def start(self) -> None:
        """Archive, index and copy to the other site run."""
        for spec in SPECS:
            self.members.enter_context(member_of(self.world, spec))

    def stop(self) -> None:
        """They are gone. Fails if one of them failed."""
        self.members.close()

    def take(self, told: Sequence[Delivery], history: History) -> None:
        """Instances that were acknowledged here: they are on this site's bus on return."""
        for outcome in (SENT, OK):
            if outcome == OK:
                self.world.publish(self.world.tell(told, [RECEIVED])[RECEIVED])
            for one in told:
                content = one.event.content
                instance = {
                    "sop_instance_uid": content.sop_instance_uid,
                    "study": content.study_instance_uid,
                    "sha256": content.content_sha256,
                }
                history.store(outcome, self.name, instance)

    def lags(self) -> dict[str, int]:
        """Records that its consumers have not committed."""
        bus = self.world.bus
        return {spec.name: bus.lag(spec.name, list(spec.inputs)) for spec in SPECS}


@dataclass(frozen=True)
class SplitSites:
    """Both sites, and everything that was ever sent to either."""

    first: ActiveSite
    second: ActiveSite
    history: History

    @property
    def both(self) -> tuple[ActiveSite, ActiveSite]:
        """The two of them."""
        return self.first, self.second

    @property
    def stores(self) -> tuple[Site, Site]:
        """How a judge reaches bucket and index of either site."""
        settings = self.first.world.settings
        return site_of(settings, "primary"), site_of(settings, "dr")

    @contextmanager
    def cut(self) -> Iterator[None]:
        """No site reaches the other one's store or index for the length of a block."""
        lines = [line for site in self.both for line in site.world.proxies[OF_THE_LINE]]
        self.history.fault("cut", LINE, is_begin=True)
        try:
            for line in lines:
                line.shut()
            yield
        finally:
            for line in lines:
                line.open()
            self.history.fault("cut", LINE, is_begin=False)

    def await_archived(self) -> None:
        """Each site has archived what it took; during a cut it has copied none of it."""
        archive = object_archive.SPEC.name
        eventually(lambda: not any(site.lags()[archive] for site in self.both), "archived")

    def sample(self) -> bool:
        """Writes every lag down; whether nothing waits."""
        waiting = 0
        for site in self.both:
            for name, records in site.lags().items():
                self.history.gauge(f"lag of {name} at {site.name}", records)
                waiting += records
        return waiting == 0

    def must_hold(self) -> None:
        """Returns once nothing waits and the judge finds nothing; fails with what it finds."""
        eventually(self.sample, "both sites are at rest")
        found: list[object] = []

        def holds() -> bool:
            found[:] = [broken(check(self.history.path, *self.stores))]
            return not found[0]

        try:
            eventually(holds, "the union at both sites")
        except AssertionError as cause:
            raise AssertionError(f"{found}") from cause
        here, there = (conflicts(site) for site in self.stores)
        assert here == there
        here_ids, there_ids = (delivery_ids(site) for site in self.stores)
        assert here_ids == there_ids


def objects(site: Site) -> dict[str, tuple[str, object]]:
    """ETag and time of every pack in a bucket: either is another one when it was written anew."""
    listed = client_of(site).list_objects(site.bucket, prefix="packs/", recursive=True)
    return {str(one.object_name): (str(one.etag), one.last_modified) for one in listed}


def conflicts(site: Site) -> dict[str, int]:
    """The SOP Instance UIDs with several contents, and with how many."""
    sql = "SELECT sop_instance_uid, contents FROM conflicts"
    return {row["sop_instance_uid"]: int(row["contents"]) for row in query(site, sql)}


def delivery_ids(site: Site) -> list[str]:
    """Every delivery that the index knows."""
    sql = "SELECT delivery_id FROM deliveries ORDER BY delivery_id"
    return [str(row["delivery_id"]) for row in query(site, sql)]


def again(one: Delivery) -> Delivery:
    """The same bytes, sent another time."""
    return Delivery(replace(one.event, delivery_id=_ids.mint()), one.data)


def altered(one: Delivery) -> Delivery:
    """Other bytes under the same UIDs."""
    data = one.data + bytes(2)
    content = replace(one.event.content, content_sha256=hashlib.sha256(data).hexdigest())
    event = replace(one.event, content=content, size_bytes=len(data), delivery_id=_ids.mint())
    return Delivery(event, data)


@contextmanager
def split_sites(engines: Settings, directory: Path) -> Iterator[SplitSites]:
    """Both sites, only the first of them running, for the length of a block."""
    own = directory / "second"
    own.mkdir()
    with (
        world_of(engines, directory) as first,
        _world(_promoted(first.settings, own), own) as second,
        ExitStack() as of_first,
        ExitStack() as of_second,
    ):
        history = History(directory / "history.jsonl")
        sites = SplitSites(
            ActiveSite("first", first, of_first), ActiveSite("second", second, of_second), history
        )
        sites.first.start()
        yield sites
        history.close()


def _promoted(settings: Settings, directory: Path) -> Settings:
    """The second site's own: its archive comes first, and its bus is another."""
    tree = json.loads(_to_json(settings))
    tree["primary"], tree["dr"] = tree["dr"], tree["primary"]
    tree["kafka"]["topic_prefix"] = f"t{uuid.uuid4().hex[:12]}."
    tree["scratch_directory"] = str(directory / "scratch")
    return validate(tree, "tests")
