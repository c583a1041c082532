"""All kinds of synthetic instances, by name.

Invariant: a kind is listed here or it does not exist; a wrong name is answered with the nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import MappingProxyType

from contracts.failures import FatalError
from load.studies import (
    documents,
    enhanced_ct,
    projections,
    slices,
    structure_set,
    tomosynthesis,
    ultrasound,
    waveform,
)
from load.studies.kind import Kind

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *slices.KINDS,
            *projections.KINDS,
            *tomosynthesis.KINDS,
            *ultrasound.KINDS,
            *enhanced_ct.KINDS,
            *documents.KINDS,
            *structure_set.KINDS,
            *waveform.KINDS,
        )
    }
)


def kind_named(name: str) -> Kind:
    """That kind. Raises FatalError naming all kinds and the nearest match."""
    return KINDS[known(name, KINDS, "kind of instance")]


def known(name: str, names: Collection[str], what: str) -> str:
    """`name`, if it is one of `names`; raises FatalError with them and the nearest match."""
    if name in names:
        return name
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise FatalError(
        f"choosing a synthetic study: there is no {what} {name!r}",
        f"{hint}known: {', '.join(names)}",
    )
