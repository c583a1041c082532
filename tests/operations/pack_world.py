"""An archive whose packs are told by the story, and what stands in it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from contracts.events import PackArchived
from contracts.topics import Topic
from infra.provision_topics import provision_topics
from tests.consumers import story
from tests.consumers.bus import delete_topics
from tests.consumers.final_states import instances, packs_in
from tests.consumers.story import Delivery
from tests.consumers.world import World
from tests.polling import eventually, succeeded

T = TypeVar("T")

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
        for start in range(0, count, story.STORY_DELIVERIES_MAX)
        for one in story.deliveries(min(count - start, story.STORY_DELIVERIES_MAX))
    ]


def patiently(call: Callable[[], T]) -> T:
    """What a person does whose broker is too busy to answer: asks again."""
    return succeeded(call, "an answer of the engines")


def stored(world: World, told: Sequence[Delivery]) -> list[PackArchived]:
    """Their packs in the primary bucket; no event says so."""
    primary = world.engines.primary
    return story.store_packs(told, primary.object_store, primary.name, world.directory)


def assert_indexed(world: World, told: Sequence[Delivery]) -> None:
    """The primary index has them whole, and has heard of them from the second site."""
    database = world.engines.primary.database
    assert instances(database) >= {
        (d.event.content.sop_instance_uid, d.event.content.content_sha256)
        for d in told
        if d.event.quarantine_reason is None
    }
    rows = database.query("SELECT delivery_id, status FROM deliveries")
    status = {row["delivery_id"]: row["status"] for row in rows}
    for one in told:
        wanted = "quarantined" if one.event.quarantine_reason else "replicated"
        assert status[one.event.delivery_id] == wanted


def remake_topics(world: World, wanted: Sequence[Topic]) -> None:
    """Topics are deleted with all that is on them, and made anew."""
    names = [topic.name for topic in wanted]
    before = {name: world.bus.view.topic_id(name) for name in names}
    delete_topics(world.settings.kafka, names)
    eventually(lambda: not any(map(world.bus.view.topic_id, names)), "the topics gone")
    provision_topics(world.settings.kafka)

    def are_new() -> bool:
        return all(world.bus.view.topic_id(name) not in (None, before[name]) for name in names)

    eventually(are_new, "other topics")


def bytes_in_primary(world: World) -> dict[str, dict[str, bytes]]:
    """Every pack of the primary bucket, its hashes checked."""
    return packs_in(world.engines.primary.object_store)


def data_of(told: Iterable[Delivery]) -> dict[str, bytes]:
    """The data sets by delivery."""
    return {delivery.event.delivery_id: delivery.data for delivery in told}
