"""The sha256 of a data set, and the delivery that its record becomes once it is known.

Invariant: every byte is hashed once and in its order; how long the JSON of a delivery will be is
known before its hash is. Used by one thread at a time. Must not touch the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_gateway.spool.entry import (
    DeliveryFacts,
    Entry,
    SpooledDelivery,
    deliver,
    encode_delivery,
    encode_entry,
)

_UNKNOWN_SHA256 = "0" * 64


class ContentHash:
    """The sha256 of one data set, of which bytes held in memory may be hashed later."""

    def __init__(self) -> None:
        self._summed = hashlib.sha256()
        # Of what is held in memory.
        self.hashed_bytes = 0

    def update(self, view: memoryview) -> None:
        """Hashes the next bytes; what is held must be hashed by then."""
        self._summed.update(view)

    def catch_up(self, held: Sequence[bytearray]) -> None:
        """Hashes what of `held`, the data set's first bytes, is not hashed yet."""
        position = 0
        for part in held:
            end = position + len(part)
            if end > self.hashed_bytes:
                with memoryview(part)[max(0, self.hashed_bytes - position) :] as rest:
                    self._summed.update(rest)
            position = end
        self.hashed_bytes = max(position, self.hashed_bytes)

    def hexdigest(self) -> str:
        return self._summed.hexdigest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry and its JSON, as they go into a record."""

    entry: Entry
    meta: bytes

    @classmethod
    def of(cls, entry: Entry) -> Sealed:
        """Raises ValueError where the entry cannot be JSON."""
        return cls(entry, encode_entry(entry))

    @property
    def meta_bytes(self) -> int:
        return len(self.meta)

    @property
    def is_sealed(self) -> bool:
        return True

    def seal(self) -> Sealed:
        return self


@dataclass(slots=True, eq=False, kw_only=True)
class DeliverySeal:
    """A whole data set and all that its delivery says but, maybe, the sha256.

    `facts_json` is that of `facts`. `unhashed` are the parts in memory that `summed` may lack:
    they are hashed by whoever writes the record, while its sender waits for that.
    """

    facts: DeliveryFacts
    facts_json: bytes
    size_bytes: int
    quarantine_reason: str | None
    external: bool
    summed: ContentHash
    unhashed: Sequence[bytearray]
    _delivery: SpooledDelivery | None = field(init=False, default=None)

    @property
    def meta_bytes(self) -> int:
        """How long the JSON is, or will be."""
        return len(self._encode(_UNKNOWN_SHA256))

    @property
    def is_sealed(self) -> bool:
        return self._delivery is not None

    def seal(self) -> Sealed:
        """The delivery; what was left to hash is hashed."""
        delivery = self.delivery()
        return Sealed(delivery, self._encode(delivery.content_sha256))

    def delivery(self) -> SpooledDelivery:
        """As `seal`, without the JSON."""
        if self._delivery is None:
            self.summed.catch_up(self.unhashed)
            self.unhashed = ()
            self._delivery = deliver(
                self.facts,
                self.size_bytes,
                self.summed.hexdigest(),
                self.quarantine_reason,
                self.external,
            )
        return self._delivery

    def _encode(self, content_sha256: str) -> bytes:
        ending = (self.size_bytes, content_sha256, self.quarantine_reason, self.external)
        return encode_delivery(self.facts_json, *ending)
