"""Every consumer there is: one line each.

Invariant: a consumer that is not here runs nowhere and is tested nowhere; one that is here must
pass the conformance suite.
"""

from __future__ import annotations

import difflib
import re

from consumers import dr_replica, metadata_index, object_archive, usage_analytics
from consumers.spec import ConsumerSpec
from contracts.failures import FatalError

CATALOG: tuple[ConsumerSpec, ...] = (
    object_archive.SPEC,
    metadata_index.SPEC,
    dr_replica.SPEC,
    usage_analytics.SPEC,
)

# `object-archive-2` is a further member of the group `object-archive`.
_MEMBER_SUFFIX = re.compile(r"-[0-9]+\Z")


def spec_of(process_name: str) -> ConsumerSpec:
    """The consumer that a process runs. Raises FatalError with the nearest name there is."""
    name = _MEMBER_SUFFIX.sub("", process_name)
    names = [spec.name for spec in CATALOG]
    if name in names:
        return CATALOG[names.index(name)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(names)}"
    raise FatalError(f"no consumer {process_name!r}", hint)
