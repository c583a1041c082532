"""The latest word of each gateway, when the bus took it, and when a gateway has spoken since.

Invariant: whether a gateway is silent is told by the log alone, never by the gateway's own clock;
one whose clock is another is held to its own words: a word that was begun after an earlier one had
been taken, which was itself taken after the start, speaks of a time after the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from contracts import codec
from contracts.events import GatewayState
from contracts.failures import PoisonError
from contracts.topics import GATEWAY_STATE
from infra.settings import KafkaSettings
from infra.topic_tail import read_all

# A word may wait on its way to the broker; what takes longer, or comes from the future, is taken
# for another clock, and costs only that two more words are waited for.
CLOCK_AGREES_S = 5.0
# The one that was there, one that was perhaps begun before the start, and one that was not.
WORDS_THAT_PROVE = 3


@dataclass(frozen=True, slots=True)
class SpokenState:
    """A gateway's state, when the broker took it (its clock), and where it stands."""

    state: GatewayState
    taken_at: datetime
    place: tuple[int, int]

    @property
    def behind_s(self) -> float:
        """How far its clock is behind the broker's, the time on the way included."""
        return (self.taken_at - self.state.at).total_seconds()


def gateway_words(settings: KafkaSettings) -> dict[str, SpokenState]:
    """The latest word of each gateway id that was not retired since."""
    latest: dict[str, SpokenState] = {}
    for record in read_all(settings, GATEWAY_STATE.name):
        if record.value is None:
            latest.pop((record.key or b"").decode(errors="replace"), None)
            continue
        try:
            state = codec.decode(record.value, GatewayState)
        except PoisonError:
            continue  # a foreign record says nothing
        place = (record.partition, record.offset)
        latest[state.gateway_id] = SpokenState(state, record.timestamp, place)
    return latest


class Since:
    """Whether gateways have spoken of a time after the start; asked with each look at the words."""

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._by_its_clock: dict[str, datetime] = {}

    def why_not(self, word: SpokenState) -> str:
        """Why it is not done with what was there at the start; '' where it is."""
        state = word.state
        if word.behind_s < -CLOCK_AGREES_S:
            return (
                f"its clock is {-word.behind_s:.0f} s ahead: what it answered in that time is not"
                " compared; set it (see `hilum doctor`)"
            )
        start = self._start_for(word)
        if start is None or state.at < start:
            return f"silent since {word.taken_at.isoformat(timespec='seconds')}"
        oldest_at = state.oldest_receipt_unpublished_at
        if state.receipts_unpublished and (oldest_at is None or oldest_at <= start):
            return f"{state.receipts_unpublished} receipts not published yet"
        if state.oldest_unarchived_at is not None and state.oldest_unarchived_at <= start:
            return f"holds images from {state.oldest_unarchived_at.isoformat()} not archived yet"
        return ""

    def _start_for(self, word: SpokenState) -> datetime | None:
        """A time by its clock that is not before the start; None while that is not known."""
        if word.behind_s <= CLOCK_AGREES_S:
            return self._started_at
        gateway_id = word.state.gateway_id
        places = self._places.setdefault(gateway_id, [])
        if word.place not in places:
            places.append(word.place)
        if len(places) < WORDS_THAT_PROVE:
            return None
        return self._by_its_clock.setdefault(gateway_id, word.state.at)
