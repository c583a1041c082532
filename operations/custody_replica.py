"""Which contents of the archive the second site lacks, without asking for all of them.

Invariant: a slice counts as replicated only where the second site's manifests, as its index tells
them, and its `instances` have the same contents as the archive, by number and sum of hashes; in
every other slice each content is compared. It must not hold more than some slices at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from consumers.announce import chunks
from operations.custody_desk import JUDGED_AT_ONCE, Witnesses, judge_contents
from operations.custody_queries import Witness
from operations.custody_sources import Content

# Of slices that differ, so many contents are compared at a time.
CONTENTS_AT_ONCE = 200_000
_ARCHIVED, _INSTANCES = "archived", "instance_rows"


def lacking(said: Witnesses, except_for: Collection[Content]) -> int:
    """How many archived contents the second site lacks, those of `except_for` left out.

    Raises RetryableError, FatalError.
    """
    primary, dr = said.primary, said.dr
    with ThreadPoolExecutor(2, thread_name_prefix="slices") as pool:
        asked_here = pool.submit(primary.slices, _ARCHIVED)
        asked_there = pool.submit(lambda: (dr.slices(_ARCHIVED), dr.slices(_INSTANCES)))
        here, there = asked_here.result(), asked_there.result()
    differing = [
        number for number, found in here.items() if any(found != one.get(number) for one in there)
    ]
    missing = 0
    contents = sum(here[number][0] for number in differing)
    together = max(1, len(differing) * CONTENTS_AT_ONCE // max(contents, 1))
    for some in chunks(sorted(differing), together):
        held = dr.contents_in(_ARCHIVED, some) & dr.contents_in(_INSTANCES, some)
        lacked = primary.contents_in(_ARCHIVED, some) - held
        missing += _as_of_the_start(said, lacked - set(except_for))
    return missing


def _as_of_the_start(said: Witnesses, lacked: set[Content]) -> int:
    """How many of these count; what came after the start does not.

    Where there are very many, hardly any of them came since, and none of it is good either way.
    """
    if not lacked or len(lacked) > JUDGED_AT_ONCE:
        return len(lacked)
    # What the two sites' slices are of is archived; who else knows it decides nothing here.
    return judge_contents(said, dict.fromkeys(lacked, Witness.ARCHIVED)).counts.archived
