"""What became of the deliveries of one batch on their way into packs.

Invariant: a delivery that was handed over is in a stored pack, in `rejections`, in `gone`, or in a
half that is still to be stored; a pack that the store refuses is no reason to refuse a delivery
before it was refused alone. Pure: nothing is stored or told here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from consumers.pack_groups import Received
from consumers.spec import Rejection
from contracts.events import Area, InstanceReceived
from contracts.failures import PoisonError
from contracts.packs import Pack
from infra.seams import StoredObject


@dataclass(frozen=True, slots=True)
class Assembled:
    """A pack and the records that are in it."""

    area: Area
    pack: Pack
    records: list[Received]


@dataclass(frozen=True, slots=True)
class Stored:
    """A pack that the store has, verified."""

    area: Area
    pack: Pack
    stored: StoredObject
    archived_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """A pack that the store will never take."""

    area: Area
    records: list[Received]
    cause: PoisonError


@dataclass(slots=True)
class Outcome:
    """Deliveries that are in no pack."""

    rejections: list[Rejection] = field(default_factory=list)
    gone: list[InstanceReceived] = field(default_factory=list)
    _halves: list[tuple[Area, list[Received]]] = field(default_factory=list)

    def refuse(self, pack: Refused) -> None:
        """Its only delivery is refused, or each half of several is to be stored by itself.

        What a store takes depends on the object's size, and a delivery's is not the pack's.
        """
        records = pack.records
        if len(records) == 1:
            self.rejections.append(Rejection(records[0], pack.cause.reason, pack.cause.detail))
            return
        middle = len(records) // 2
        self._halves += [(pack.area, records[:middle]), (pack.area, records[middle:])]

    def take_halves(self) -> list[tuple[Area, list[Received]]]:
        """What is to be stored anew; the caller has it now."""
        halves, self._halves = self._halves, []
        return halves
