"""Whom `verify` waits for: silence is told by the log, and a gateway that was replaced may go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.events import GatewayState, StateTotal
from contracts.example_catalog import examples_of
from contracts.failures import FatalError
from infra.settings import Settings
from operations.gateway_words import Since, SpokenState
from operations.gateways import gateway_rows, retire
from operations.verify import Verdict, VerifyOptions, verify
from tests.consumers.world import World, world_of
from tests.polling import repeatedly, succeeded

NAMES = ("north", "south")
HOUR = timedelta(hours=1)
SPEAKS_EVERY_S = 0.3
PATIENT = VerifyOptions(wait_s=120.0)


@pytest.fixture(scope="module")
def world(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An empty archive whose gateways the tests speak for."""
    with world_of(engines, tmp_path_factory.mktemp("gateways")) as ready:
        yield ready


class Gateway:
    """Something that speaks as a gateway does, with a clock of its own."""

    def __init__(self, world: World, name: str, gateway_id: str, ahead: timedelta) -> None:
        self._world = world
        example = examples_of(GatewayState)[0]
        self.state = replace(
            example,
            site=name,
            gateway_name=name,
            gateway_id=gateway_id,
            totals=(),
            receipts_unpublished=0,
            oldest_receipt_unpublished_at=None,
            oldest_unarchived_at=None,
        )
        self._ahead = ahead

    def speak(self) -> None:
        """One word, acknowledged."""
        said = replace(self.state, at=datetime.now(UTC) + self._ahead)
        self._world.bus.publish_events([(said, said.gateway_id.encode())])

    def speaking(self) -> AbstractContextManager[None]:
        """It speaks again and again for the length of a block."""
        return repeatedly(lambda: succeeded(self.speak, "a word on the bus"), SPEAKS_EVERY_S)


def both(world: World, ahead: timedelta = timedelta(0)) -> tuple[Gateway, Gateway]:
    """The gateways that the settings name; the first one's clock is `ahead`."""
    first, second = (f"01980000-0000-7000-8000-0000000000{number:02d}" for number in (1, 2))
    north, south = NAMES
    return Gateway(world, north, first, ahead), Gateway(world, south, second, timedelta(0))


def verdict_of(world: World, options: VerifyOptions) -> Verdict:
    return succeeded(lambda: verify(world.engines, options), "every witness answers")


def test_a_gateway_whose_clock_is_slow_is_waited_for_and_not_silent(world: World) -> None:
    north, south = both(world, -HOUR)
    with north.speaking(), south.speaking():
        assert verdict_of(world, PATIENT).ok


START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def word(offset: int, after_s: float, ahead: timedelta, **said: Any) -> SpokenState:
    """What the log has from a gateway that spoke so long after the start, by its own clock."""
    at = START + timedelta(seconds=after_s)
    state = replace(
        examples_of(GatewayState)[0],
        at=at + ahead,
        receipts_unpublished=0,
        oldest_receipt_unpublished_at=None,
        oldest_unarchived_at=None,
    )
    return SpokenState(replace(state, **said), at + timedelta(milliseconds=20), (0, offset))


def test_a_word_from_before_the_start_is_silence_whatever_the_clock() -> None:
    for ahead in (timedelta(0), -HOUR):
        since = Since(START)
        for _ in range(5):
            assert since.why_not(word(7, -1.0, ahead)).startswith(
                "silent since 2026-03-01T11:59:59"
            )


def test_a_slow_clock_is_believed_from_the_second_new_word_on() -> None:
    since = Since(START)
    assert since.why_not(word(7, -1.0, -HOUR)).startswith("silent")
    assert since.why_not(word(8, 0.1, -HOUR)).startswith("silent"), "perhaps begun before"
    assert since.why_not(word(9, 10.1, -HOUR)) == ""
    assert since.why_not(word(9, 10.1, -HOUR)) == ""


def test_a_slow_clock_hides_nothing_that_was_there_at_the_start() -> None:
    since = Since(START)
    before, after = (START - HOUR + timedelta(seconds=s) for s in (-5.0, 60.0))
    for offset in (7, 8):
        since.why_not(word(offset, offset, -HOUR))
    held = {"receipts_unpublished": 1, "oldest_receipt_unpublished_at": before}
    assert "receipts not published" in since.why_not(word(9, 9.0, -HOUR, **held))
    assert "not archived yet" in since.why_not(word(10, 19.0, -HOUR, oldest_unarchived_at=before))
    assert since.why_not(word(11, 99.0, -HOUR, oldest_unarchived_at=after)) == ""


def test_a_fast_clock_is_told_and_passes_for_no_word() -> None:
    since = Since(START)
    for offset in range(5):
        assert "3600 s ahead" in since.why_not(word(offset, offset, HOUR))


def test_a_gateway_that_was_replaced_is_retired_and_comes_back_when_it_speaks(
    world: World,
) -> None:
    north, south = both(world)
    replaced = Gateway(world, "north", "01980000-0000-7000-8000-0000000000ff", timedelta(0))
    replaced.state = replace(replaced.state, totals=(StateTotal("spooled", 2, 2_000),))
    replaced.speak()
    replaced_id = replaced.state.gateway_id
    engines = world.engines
    with north.speaking(), south.speaking():
        verdict = verdict_of(world, replace(PATIENT, wait_s=3.0))
        assert not verdict.ok
        assert replaced_id in [g.gateway_id for g in verdict.gateways]
        with pytest.raises(FatalError, match="s ago"):
            retire(engines, replaced_id, is_lost=True)
        with pytest.raises(FatalError, match="2 deliveries"):
            retire(engines, replaced_id, is_lost=False, silent_s_min=0.0)
        with pytest.raises(FatalError, match="no gateway"):
            retire(engines, "somebody", is_lost=False)
        assert retire(engines, replaced_id, is_lost=True, silent_s_min=0.0).unarchived == 2
        assert verdict_of(world, PATIENT).ok
    replaced.speak()
    ids = [row.gateway_id for row in gateway_rows(world.settings.kafka)]
    assert replaced_id in ids
    retire(engines, replaced_id, is_lost=True, silent_s_min=0.0)
