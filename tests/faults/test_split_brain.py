"""Both sites take images while the line between them is cut; after it both hold the union."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.consumers import story
from tests.consumers.story import Delivery
from tests.faults.laboratory import Record
from tests.faults.split_sites import (
    SPECS,
    ActiveSite,
    SplitSites,
    again,
    altered,
    conflicts,
    objects,
    split_sites,
)

pytestmark = pytest.mark.timeout(1200)
BEFORE, DURING, ALIKE, OTHER = 8, 8, 3, 2
STUDY = 4


class Split:
    """Rounds of a split, drawn from a seed; what they planted is counted."""

    def __init__(self, sites: SplitSites, seed: int) -> None:
        self.sites = sites
        self._chance = random.Random(seed)
        self._known: list[Delivery] = []
        self.sent = 0
        self.overwritten = 0
        self.planted: set[str] = set()

    def take(self, site: ActiveSite, told: list[Delivery]) -> None:
        """Acknowledged at one site."""
        self._chance.shuffle(told)
        site.take(told, self.sites.history)
        self.sent += len(told)
        self._known += told

    def both_take(self) -> None:
        """Studies of their own, some alike at both, and other bytes under UIDs of either.

        Those that are alike or altered come from what was known before the split, too.
        """
        first, second = self.sites.both
        ours, theirs = story.deliveries(DURING, STUDY), story.deliveries(DURING, STUDY)
        alike = self._chance.sample([*self._known, *ours], ALIKE)
        other = self._chance.sample([*self._known, *ours], OTHER)
        self.planted |= {one.event.content.sop_instance_uid for one in other}
        theirs += [*map(again, alike), *map(altered, other)]
        self.take(first, ours)
        self.take(second, theirs)

    def split(self) -> None:
        """One split from the cut to the union, judged."""
        sites = self.sites
        with sites.cut():
            self.both_take()
            sites.await_archived()
            before = [objects(store) for store in sites.stores]
            assert all(set(mine) - set(other) for mine, other in (before, before[::-1]))
            assert all(site.lags()[SPECS[-1].name] > 0 for site in sites.both), "both wait"
        sites.must_hold()
        after = [objects(store) for store in sites.stores]
        assert set(after[0]) == set(after[1]) == {*before[0], *before[1]}, "the union, no more"
        for then, now in zip(before, after, strict=True):
            changed = [key for key, told in then.items() if now[key] != told]
            self.overwritten += len(changed)
        assert self.overwritten == 0
        assert all(set(conflicts(store)) == self.planted for store in sites.stores)

    @property
    def latest(self) -> list[Delivery]:
        """A few of those that the second site took last."""
        return self._known[-ALIKE:]

    @property
    def figure(self) -> str:
        """The line for the fault matrix; what it tells was asserted."""
        packs = len(objects(self.sites.stores[0]))
        return (
            f"0 lost of {self.sent}; the same {packs} packs at both sites, {self.overwritten} "
            f"overwritten; {len(self.planted)} of {len(self.planted)} conflicts listed at both"
        )


@contextmanager
def both_active(engines: Settings, directory: Path, seed: int) -> Iterator[Split]:
    """The first site has taken images, the second has their copies and is promoted."""
    with split_sites(engines, directory) as sites:
        split = Split(sites, seed)
        sites.sample()
        split.take(sites.first, story.deliveries(BEFORE, STUDY))
        sites.must_hold()
        sites.second.start()
        yield split


def test_both_sites_take_images_and_hold_the_union_after(
    engines: Settings, tmp_path: Path, seed: int, record_property: Record
) -> None:
    record_property("seed", seed)
    with both_active(engines, tmp_path, seed) as split:
        split.split()
        # The second site goes back to what it was, and the first one goes on.
        split.sites.second.stop()
        told = [*story.deliveries(BEFORE, STUDY), *map(again, split.latest)]
        split.take(split.sites.first, told)
        split.sites.must_hold()
        record_property("figure", split.figure)


@pytest.mark.soak
def test_sites_that_split_again_and_again_hold_the_union_each_time(
    engines: Settings, tmp_path: Path, seed: int, minutes: int, record_property: Record
) -> None:
    """After each split one of the sites stands still while it takes images, and is begun anew."""
    record_property("seed", seed)
    chance = random.Random(seed)
    until = time.monotonic() + 60.0 * minutes
    with both_active(engines, tmp_path, seed) as split:
        rounds = 0
        while time.monotonic() < until:
            split.split()
            site = chance.choice(split.sites.both)
            site.stop()
            split.take(site, story.deliveries(DURING, STUDY))
            site.start()
            rounds += 1
            print(f"round {rounds}: {split.figure}")
        split.sites.must_hold()
        record_property("figure", f"{rounds} splits: {split.figure}")
