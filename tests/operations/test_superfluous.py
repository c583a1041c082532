"""Which packs may go: whatever several runs at once decide, each delivery keeps a place."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from contracts.events import Area
from contracts.packs import object_key
from operations.packs.survey import NamedPack, superfluous

DELIVERIES = st.frozensets(st.integers(0, 9), min_size=1, max_size=6)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def pack_of(number: int, deliveries: frozenset[int], is_at_primary: bool = True) -> NamedPack:
    sha256 = hashlib.sha256(f"{number}/{sorted(deliveries)}".encode()).hexdigest()
    return NamedPack(
        key=object_key(Area.PACKS, sha256),
        area=Area.PACKS,
        study_instance_uid="2.25.1",
        uid="2.25.1",
        size_bytes=1,
        archived_at=NOW,
        deliveries=frozenset((str(one), f"{one:064x}") for one in deliveries),
        is_at_primary=is_at_primary,
        is_at_dr=True,
    )


@given(st.lists(DELIVERIES, max_size=8), st.data())
def test_each_delivery_keeps_a_place_whoever_decides_on_whatever_they_see(
    contents: list[frozenset[int]], data: st.DataObject
) -> None:
    packs = [pack_of(number, deliveries) for number, deliveries in enumerate(contents)]
    here = {pack.key: pack for pack in packs}
    everything = {delivery for pack in packs for delivery in pack.deliveries}
    # Runs at once, each of which saw some of the packs, and removes when it likes.
    views = data.draw(st.lists(st.sets(st.sampled_from(packs)) if packs else st.just(set())))
    plans = [one for view in views for one in superfluous(list(view))]
    for one in data.draw(st.permutations(plans)):
        here.pop(one.pack.key, None)
        assert {d for pack in here.values() for d in pack.deliveries} == everything


@given(st.lists(DELIVERIES, max_size=8))
def test_what_holds_is_smaller_and_stays(contents: list[frozenset[int]]) -> None:
    packs = [pack_of(number, deliveries) for number, deliveries in enumerate(contents)]
    found = superfluous(packs)
    going = {one.pack.key for one in found}
    for one in found:
        assert all(holder.key < one.pack.key and holder.key not in going for holder in one.holders)
        held = {delivery for holder in one.holders for delivery in holder.deliveries}
        assert one.pack.deliveries <= held
    left = [pack for pack in packs if pack.key not in going]
    assert not superfluous(left), "once is enough"


def test_what_the_primary_site_lacks_holds_nothing() -> None:
    few, many = frozenset({1}), frozenset({1, 2})
    pairs = [(pack_of(n, many, False), pack_of(n, few)) for n in range(20)]
    assert any(there.key < here.key for there, here in pairs)
    assert all(not superfluous(pair) for pair in pairs)
    pairs = [(pack_of(n, many), pack_of(n, few)) for n in range(20)]
    assert any(superfluous(pair) for pair in pairs)
