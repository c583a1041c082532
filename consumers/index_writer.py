"""Writes the index of one site: the events' rows first, then what follows from them.

Invariant: inserting comes before composing, always; whatever is repeated, in whichever order,
ends in the same views. It must not know offsets, and no row's identity depends on the clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.events import AssociationReceipt, InstanceReceived, PackArchived, PackReplicated
from infra.clock import Clock
from infra.seams import Database


class IndexWriter:
    """The index tables of one site's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def write(
        self,
        *,
        received: Sequence[InstanceReceived] = (),
        archived: Sequence[PackArchived] = (),
        replicated: Sequence[PackReplicated] = (),
        receipts: Sequence[AssociationReceipt] = (),
    ) -> None:
        """On return every view tells these events. Idempotent, in any order.

        Raises RetryableError, PoisonError (some value cannot be stored), FatalError.
        """
        raise NotImplementedError
