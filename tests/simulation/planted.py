"""Defects on purpose, each of a line or two at a seam of the real code, for the simulation to find.

Invariant: none is of a kind that the simulation's doubles would notice by themselves; each is one
that somebody could write. Must not be reached from anywhere but the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import edge_gateway.spool.release
import edge_gateway.spool.segment
from consumers.announce import Announcer
from consumers.archive_outcome import Outcome, Refused
from consumers.gather import Batch, Gatherer
from consumers.runner import Runner
from contracts.events import CustodyMember
from edge_gateway.custody import CustodyDesk
from edge_gateway.flight import Flight
from edge_gateway.progress import Progress
from edge_gateway.publish import Pipeline
from edge_gateway.spool.log import SpoolLog
from edge_gateway.spool.tail import SegmentTail
from infra.partitions import Partition
from tests.simulation.stepped import Replacements


@dataclass(frozen=True, slots=True)
class Defect:
    """`examples`: within how many worlds it must be found."""

    name: str
    tells: str
    replacements: Replacements
    examples: int = 400


def _nothing(*given: object, **named: object) -> None:
    return None


def _zero(*given: object) -> int:
    return 0


def _no_unless_at(self: Progress, published_to: str) -> int:
    return 0


def _purge_published(self: Progress, before: Any, limit: int) -> Any:
    resolved = _RESOLVED_BEFORE(self, before, limit)
    rows = self.connection.execute("SELECT delivery_id FROM delivery WHERE state = 'published'")
    found = (self.find(str(row[0])) for row in rows.fetchall())
    return [*resolved, *(entry for entry in found if entry is not None)][:limit]


_RESOLVED_BEFORE = Progress.resolved_before


def _any_sha256(self: CustodyDesk, custody: Any, member: CustodyMember) -> str:
    known = self.progress.find(member.delivery_id)
    if known is not None:
        member = replace(member, content_sha256=known.content_sha256)
    return _APPLY_MEMBER(self, custody, member)


_APPLY_MEMBER = CustodyDesk._apply_member


def _commit_first(self: Runner, batch: Batch, writer: Any) -> None:
    self._consumer.commit(batch.next_offsets())
    _DELIVER(self, batch, writer)


_DELIVER = Runner._deliver


def _beyond_is_kept(self: Gatherer, batch: Batch, polled: Sequence[Any]) -> Sequence[Any]:
    """Takes what fits, and the rest is neither in the batch nor sought back."""
    beyond = _TAKE(self, batch, polled)
    return () if beyond else beyond


_TAKE = Gatherer._take


def _one_too_far(self: Batch) -> dict[Partition, int]:
    return {Partition(r.topic, r.partition): r.offset + 2 for r in self.raw}


def _remnant_unwritten(*given: object) -> None:
    return None


def _event_counts_when_sent(self: Pipeline) -> bool:
    """Lands a flight as soon as its event is handed to the publisher."""
    moved = _SETTLE_FLIGHTS(self)
    for flight in list(self._flights):
        if flight.event is not None:
            self._land(flight)
    return moved


_SETTLE_FLIGHTS = Pipeline._settle_flights


def _first_offset_for_all(self: Flight, now: Any) -> Any:
    event = _EVENT(self, now)
    return replace(event, payload_offsets=(self._offsets[0],) * len(self._offsets))


_EVENT = Flight._event


def _announce_without_waiting(self: Announcer) -> None:
    self._pending.clear()


def _without_checkpoint(self: SpoolLog, entries: Sequence[Any]) -> None:
    """Objects keep the name under which recovery takes them for orphans."""
    finish, self._finish_object = self._finish_object, _nothing  # type: ignore[method-assign]
    try:
        _PUBLISH(self, entries)
    finally:
        self._finish_object = finish  # type: ignore[method-assign]


_PUBLISH = SpoolLog._publish


def _unordered(self: Progress, limit: int, now: Any, without: Any) -> Any:
    return _NEXT_SPOOLED(self, limit, now, without)[::-1]


def _refusal_is_left_to_the_runner(self: Outcome, pack: Refused) -> None:
    raise pack.cause


_NEXT_SPOOLED = Progress.next_spooled


def _on(kind: Any, name: str, value: Callable[..., object]) -> Replacements:
    return ((kind, name, value),)


_ALL = (
    Defect("ack-before-flush", "answers before the flush", _on(SegmentTail, "flush", _nothing)),
    Defect(
        "purge-published",
        "purges what is published and not archived",
        _on(Progress, "resolved_before", _purge_published),
    ),
    Defect(
        "custody-any-sha256",
        "believes custody for other bytes",
        _on(CustodyDesk, "_apply_member", _any_sha256),
    ),
    Defect("commit-before-write", "commits, then writes", _on(Runner, "_deliver", _commit_first)),
    Defect(
        "no-dead-letters",
        "commits what was refused without a dead letter",
        _on(Batch, "dead_letters", lambda self, rejections: []),
    ),
    Defect(
        "refusal-not-told",
        "gives what the store refuses a dead letter, and no word to custody",
        _on(Outcome, "refuse", _refusal_is_left_to_the_runner),
    ),
    Defect(
        "no-seek-back",
        "does not seek back what a batch had no room for",
        _on(Gatherer, "_take", _beyond_is_kept),
    ),
    Defect(
        "offset-off-by-one",
        "commits one offset too far",
        _on(Batch, "next_offsets", _one_too_far),
    ),
    Defect(
        "release-live-segment",
        "recycles a segment without asking what lives in it",
        _on(Progress, "has_live_in", lambda self, segment: False),
    ),
    Defect(
        "remnant-not-written",
        "recycles a segment before its remnants are copied",
        ((edge_gateway.spool.release, "write_remnant", _remnant_unwritten),),
    ),
    Defect(
        "forgets-new-cluster",
        "does not publish again on another cluster",
        _on(Progress, "spool_again_unless_at", _no_unless_at),
    ),
    Defect("window-not-counted", "never counts the window", _on(Progress, "window_bytes", _zero)),
    Defect(
        "published-when-sent",
        "counts an event as published when it is sent",
        _on(Pipeline, "_settle_flights", _event_counts_when_sent),
    ),
    Defect(
        "wrong-chunk-offsets",
        "names the first chunk's offset for all of them",
        _on(Flight, "_event", _first_offset_for_all),
    ),
    Defect(
        "announce-without-waiting",
        "does not wait for the acknowledgement of what it announces",
        _on(Announcer, "wait", _announce_without_waiting),
    ),
    Defect(
        "order-reversed",
        "publishes the newest delivery first",
        _on(Progress, "next_spooled", _unordered),
    ),
    Defect(
        "requests-forgotten",
        "does not obey a request to publish again",
        _on(Progress, "spool_again", lambda self, delivery_id: True),
    ),
    Defect(
        "torn-body-accepted",
        "takes a record for whole whose body is another",
        ((edge_gateway.spool.segment, "is_body_valid", lambda head, body: True),),
    ),
    Defect(
        "objects-not-named",
        "recovery deletes data sets whose record it has",
        _on(SpoolLog, "_publish", _without_checkpoint),
    ),
)
# Random worlds heal what it does before anybody asks; the steps of one order of events show it.
RECALL_FORGOTTEN = Defect(
    "recall-forgotten",
    "lets a delivery land that was asked for again on its way",
    _on(Pipeline, "recall", _nothing),
)
DEFECTS: Mapping[str, Defect] = {defect.name: defect for defect in _ALL}
