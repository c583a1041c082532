"""What one data set may take, where its AE title has limits of its own.

Invariant: bytes taken of a quota are kept or given back, once. Must not know the spool.
"""

from __future__ import annotations

from edge_gateway.quotas import Quotas
from edge_gateway.spool import ObjectTooLarge
from edge_gateway.store_request import Peer


class Allowance:
    """Asked before each fragment goes into the spool. Used by one thread."""

    def __init__(self, peer: Peer, quotas: Quotas | None) -> None:
        """Raises QuotaReached where nothing more may come."""
        self._title = peer.calling_ae_title
        self._object_bytes_max = peer.object_bytes_max
        self._quota_bytes_max = peer.unarchived_bytes_max
        self._quotas = None if self._quota_bytes_max is None else quotas
        self._size_bytes = 0
        self.take(0)

    def take(self, size_bytes: int) -> None:
        """Room for the next bytes. Raises ObjectTooLarge, QuotaReached."""
        size_max = self._object_bytes_max
        if size_max is not None and self._size_bytes + size_bytes > size_max:
            raise ObjectTooLarge(f"data set above the {size_max} bytes of its AE title")
        if self._quotas is not None and self._quota_bytes_max is not None:
            self._quotas.take(self._title, size_bytes, self._quota_bytes_max)
        self._size_bytes += size_bytes

    def keep(self) -> None:
        """The data set is durable."""
        if self._quotas is not None:
            self._quotas.keep(self._title, self._size_bytes)
            self._quotas = None

    def give_back(self) -> None:
        """Nothing of it is kept; harmless after `keep`."""
        if self._quotas is not None:
            self._quotas.give_back(self._title, self._size_bytes)
            self._quotas = None


def allowance_of(peer: Peer, quotas: Quotas | None) -> Allowance | None:
    """None where the gateway's own limits are all there is. Raises QuotaReached."""
    if peer.object_bytes_max is None and peer.unarchived_bytes_max is None:
        return None
    return Allowance(peer, quotas)
