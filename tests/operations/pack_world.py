"""An archive whose packs are told by the story, and what stands in it at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from consumers.index_writer import IndexWriter
from contracts.events import InstanceReceived, PackArchived
from contracts.topics import Topic
from infra.provision_topics import provision_topics
from tests.consumers import story
from tests.consumers.bus import delete_topics, eventually
from tests.consumers.final_states import packs_in
from tests.consumers.story import Delivery
from tests.consumers.world import World

STUDY = "2.25.77.1"


def of_one_study(count: int, study: str = STUDY) -> list[Delivery]:
    """Deliveries of one study, none of them quarantined."""
    return [
        replace(
            one,
            event=replace(
                one.event,
                quarantine_reason=None,
                content=replace(
                    one.event.content, study_instance_uid=study, series_instance_uid=study + ".1"
                ),
            ),
        )
        for one in story.deliveries(count)
    ]


def stored(world: World, told: Sequence[Delivery]) -> list[PackArchived]:
    """Their packs in the primary bucket; no event says so."""
    primary = world.engines.primary
    return story.store_packs(told, primary.object_store, primary.name, world.directory)


def index(
    world: World, received: Iterable[InstanceReceived], archived: Sequence[PackArchived]
) -> None:
    """The primary index knows these events."""
    writer = IndexWriter(world.engines.primary.database, world.engines.clock)
    writer.write(received=list(received), archived=archived)


def remake_topics(world: World, wanted: Sequence[Topic]) -> None:
    """Topics are deleted with all that is on them, and made anew."""
    names = [topic.name for topic in wanted]
    before = {name: world.bus.view.topic_id(name) for name in names}
    delete_topics(world.settings.kafka, names)
    eventually(lambda: not any(map(world.bus.view.topic_id, names)), "the topics gone")
    provision_topics(world.settings.kafka)
    for name in names:
        eventually(
            lambda name=name: world.bus.view.topic_id(name) not in (None, before[name]),  # type: ignore[misc]
            "another topic",
        )


def bytes_in_primary(world: World) -> dict[str, dict[str, bytes]]:
    """Every pack of the primary bucket, its hashes checked."""
    return packs_in(world.engines.primary.object_store)


def data_of(told: Iterable[Delivery]) -> dict[str, bytes]:
    """The data sets by delivery."""
    return {delivery.event.delivery_id: delivery.data for delivery in told}
