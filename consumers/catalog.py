"""Every consumer there is: one line each.

Invariant: a consumer that is not here runs nowhere and is tested nowhere; one that is here must
pass the conformance suite.
"""

from __future__ import annotations

import difflib
import re

from consumers import (
    custody_proof,
    dr_replica,
    metadata_index,
    object_archive,
    usage_analytics,
)
from consumers.spec import ConsumerSpec
from contracts.failures import FatalError
from infra.settings import Settings

CATALOG: tuple[ConsumerSpec, ...] = (
    object_archive.SPEC,
    metadata_index.SPEC,
    dr_replica.SPEC,
    usage_analytics.SPEC,
    custody_proof.SPEC,
)

# `object-archive-2` is a further member of the group `object-archive`.
_MEMBER_SUFFIX = re.compile(r"-[0-9]+\Z")
_OF_PACKS = frozenset({"memory_bytes_max", "transfers_at_once"})


def spec_of(process_name: str) -> ConsumerSpec:
    """The consumer that a process runs. Raises FatalError with the nearest name there is."""
    name = _MEMBER_SUFFIX.sub("", process_name)
    names = [spec.name for spec in CATALOG]
    if name in names:
        return CATALOG[names.index(name)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(names)}"
    raise FatalError(f"no consumer {process_name!r}", hint)


def require_meant(settings: Settings) -> None:
    """Every setting of a consumer is one that a consumer reads. Raises FatalError where not."""
    for name, own in settings.consumers.items():
        try:
            spec = spec_of(name)
        except FatalError as cause:
            raise FatalError(f"settings consumers.{name}: {cause}", cause.next_step) from cause
        told = {key for key, value in own if value is not None} - {"http_port"}
        if told and name != spec.name:
            raise FatalError(
                f"settings consumers.{name}: {', '.join(sorted(told))} of one member alone",
                f"set it under consumers.{spec.name}, for all of its members",
            )
        if told & _OF_PACKS and not spec.holds_packs:
            holders = " or ".join(f"consumers.{spec.name}" for spec in CATALOG if spec.holds_packs)
            raise FatalError(
                f"settings consumers.{name}: it holds no packs, so that"
                f" {', '.join(sorted(told & _OF_PACKS))} means nothing there",
                f"remove it, or set it under {holders}",
            )
