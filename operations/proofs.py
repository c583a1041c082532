"""`hilum verify --proofs`: do the custody proofs hold at both stores, and is nothing left out?

Invariant: everything is computed again from the leaves that each store has; the answer names the
first bad position of each site. It must not take one store's word for the other's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumers.custody_proof import SPEC
from contracts.failures import RetryableError
from contracts.proof_check import Checked, SiteCheck, SiteVerdict, first_difference, judge
from contracts.proof_records import ProofFormatError, decode_root, root_key, segment_key
from contracts.proof_signing import VerifyingKey
from infra.cluster_view import ClusterView, TopicLag
from infra.connect import Engines
from operations.proof_store import SiteProofs, list_proofs

POLL_S = 1.0
_Difference = tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """Whose signatures are believed, and how long to wait for what is under way."""

    keys: tuple[VerifyingKey, ...]
    wait_s: float = 120.0


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """The keys of `hilum verify --proofs --json`."""

    ok: bool
    sites: tuple[SiteVerdict, ...]
    key_ids: tuple[str, ...]
    reasons: tuple[str, ...]


def verify_proofs(
    engines: Engines, options: ProofOptions, tell: Callable[[str], None] = lambda text: None
) -> ProofVerdict:
    """Checks every site's proofs at both stores, and that all receipts of the index are in them.

    Raises RetryableError, FatalError when a source cannot be asked at all.
    """
    until = time.monotonic() + options.wait_s
    # The index first: what it knows by now must be a leaf once the proofs have come so far.
    answered = _answered(engines)
    reasons = _wait_for_writer(engines, until, tell)
    there = list_proofs(engines.dr.object_store)
    here = list_proofs(engines.primary.object_store)
    verdicts = []
    for site in sorted(here.keys() | there.keys()):
        tell(f"checking the proofs of {site}")
        ours = here.get(site) or SiteProofs(engines.primary.object_store, site)
        theirs = there.get(site) or SiteProofs(engines.dr.object_store, site)
        _wait_for_copy(ours, theirs, until)
        names = (engines.primary.name, engines.dr.name)
        verdicts.append(_check_site(names, ours, theirs, options.keys))
    if not reasons:
        reasons = _left_out(answered, verdicts)
    found = tuple(f"{verdict.site}: {fault}" for verdict in verdicts for fault in verdict.faults)
    reasons = (*found, *reasons)
    key_ids = tuple(key.key_id for key in options.keys)
    return ProofVerdict(not reasons, tuple(verdicts), key_ids, reasons)


def _check_site(
    names: tuple[str, str], ours: SiteProofs, theirs: SiteProofs, keys: Sequence[VerifyingKey]
) -> SiteVerdict:
    """Both stores' word on a site; the second is computed only where it is another one."""
    roots, other_roots = dict(ours.root_objects()), dict(theirs.root_objects())
    check = SiteCheck(ours.site, keys, _present(roots))
    difference: _Difference = None
    firsts = sorted({*ours.firsts, *theirs.firsts})
    pairs = zip(ours.segments(firsts), theirs.segments(firsts), strict=True)
    for (first, mine), (_, other) in pairs:
        if mine is not None:
            check.add(first, mine)
        if mine != other and difference is None:
            difference = _first_of(first, mine, other)
    difference = min(
        (found for found in (difference, _differing_root(roots, other_roots)) if found),
        default=None,
    )
    checked = check.end()
    second = checked if difference is None else _checked(theirs, keys, other_roots)
    return judge(ours.site, dict(zip(names, (checked, second), strict=True)), difference)


def _checked(
    proofs: SiteProofs, keys: Sequence[VerifyingKey], roots: dict[int, bytes | None]
) -> Checked:
    check = SiteCheck(proofs.site, keys, _present(roots))
    for first, data in proofs.segments(proofs.firsts):
        if data is not None:
            check.add(first, data)
    return check.end()


def _present(objects: dict[int, bytes | None]) -> list[bytes]:
    return [objects[number] or b"" for number in sorted(objects)]


def _first_of(first: int, mine: bytes | None, other: bytes | None) -> tuple[int, str]:
    if mine is None or other is None:
        return first, "a segment is at one store only"
    return first_difference(mine, other, first), "the stores differ"


def _differing_root(ours: dict[int, bytes | None], theirs: dict[int, bytes | None]) -> _Difference:
    for number in sorted({*ours, *theirs}):
        pair = ours.get(number), theirs.get(number)
        if pair[0] == pair[1]:
            continue
        for data in pair:
            try:
                return decode_root(data or b"").body.first, f"root {number} differs"
            except ProofFormatError:
                continue
        return 0, f"root {number} is damaged at both stores"
    return None


def _wait_for_copy(ours: SiteProofs, theirs: SiteProofs, until: float) -> None:
    """What was written while the stores were listed comes to the second one in a moment."""
    for mine, other, key_of in (
        (ours.firsts, theirs.firsts, segment_key),
        (ours.roots, theirs.roots, root_key),
    ):
        last = other[-1] if other else -1
        for number in (number for number in mine if number > last):
            key = key_of(ours.site, number)
            while not (is_there := theirs.has(key)) and time.monotonic() < until:
                time.sleep(POLL_S)
            if not is_there:
                return
            other.append(number)


def _wait_for_writer(
    engines: Engines, until: float, tell: Callable[[str], None]
) -> tuple[str, ...]:
    """Waits until what was on the topics at the start is on the chains; else says that it is not.

    Others may go on publishing: only records older than the start are waited for.
    """
    began = time.monotonic()
    view = ClusterView(engines.settings.kafka)
    try:
        while True:
            behind = _behind(view, until)
            since_s = time.monotonic() - began
            if all(lag.seconds is not None and lag.seconds < since_s for lag in behind):
                return ()
            records = sum(lag.records for lag in behind)
            if time.monotonic() > until:
                return (f"custody-proof is {records} records behind: see `hilum status`",)
            tell("waiting for custody-proof")
            time.sleep(POLL_S)
    finally:
        view.close()


def _behind(view: ClusterView, until: float) -> list[TopicLag]:
    """The topics with records ahead. Raises RetryableError where nobody could say in time."""
    while True:
        try:
            lags = view.group_lag(SPEC.name, [topic.name for topic in SPEC.inputs])
        except RetryableError:  # a coordinator that moves, or that a new group has not got yet
            if time.monotonic() > until:
                raise
            time.sleep(POLL_S)
        else:
            return [lag for lag in lags.values() if lag.records]


def _answered(engines: Engines) -> dict[str, int]:
    rows = engines.primary.database.query(
        "SELECT site, count() AS answered FROM receipts GROUP BY site"
    )
    return {str(row["site"]): int(str(row["answered"])) for row in rows}


def _left_out(answered: dict[str, int], verdicts: Sequence[SiteVerdict]) -> tuple[str, ...]:
    leaves = {
        verdict.site: max(checked.answered for checked in verdict.stores.values())
        for verdict in verdicts
        if verdict.ok
    }
    broken = {verdict.site for verdict in verdicts if not verdict.ok}
    return tuple(
        f"{site}: the index knows {count} receipts, the proofs {leaves.get(site, 0)}"
        for site, count in sorted(answered.items())
        if site not in broken and count > leaves.get(site, 0)
    )
