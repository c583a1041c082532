"""Where the ledger went on to in what the centre says.

Invariant: an offset is read as it was written, in one transaction with what it stands for. Must
not talk to the broker.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from contracts.topics import CUSTODY, GATEWAY_REQUEST
from edge_gateway.centre import LogPosition
from edge_gateway.progress import Progress


def offset_note(topic: str) -> str:
    """The ledger's note that holds where to go on in `topic`."""
    return f"after:{topic}"


def positions_in(progress: Progress) -> Mapping[str, LogPosition]:
    """Where to go on in each topic that is not read anew, as the one of states is."""
    found = {}
    for topic in (CUSTODY.name, GATEWAY_REQUEST.name):
        text = progress.note(offset_note(topic))
        if text is not None:
            found[topic] = LogPosition(*orjson.loads(text))
    return found
