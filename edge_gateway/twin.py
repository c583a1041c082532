"""One gateway_id alive twice (a copied spool), found through the gateway's own state records.

Invariant: of two living processes with one gateway_id exactly the one whose first record is the
later knows itself to be too many, by offsets alone and never by a clock (01-shape.md Identity).
Must not publish or read anything itself.
"""

from __future__ import annotations

# A record of our own predecessor may have been on its way when it died and then stands behind our
# first one; a process that lives sends another within seconds.
RECORDS_OF_A_LIVING_TWIN = 2


class TwinWatch:
    """Fed with every state record of the own gateway_id, in the order of the log."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self.restart()

    def restart(self) -> None:
        """Forgets everything: the log is another one (a new cluster or topic)."""
        self._own_first: int | None = None
        self._elders: dict[str, int] = {}
        self._elder_alive = ""

    @property
    def elder_alive(self) -> str:
        """The boot_id of a living process that was first; '' where there is none."""
        return self._elder_alive

    def see(self, boot_id: str, offset: int) -> None:
        """Takes in one record."""
        if boot_id == self._boot_id:
            if self._own_first is None:
                self._own_first = offset
        elif self._own_first is None:
            self._elders[boot_id] = 0
        elif boot_id in self._elders:
            self._elders[boot_id] += 1
            if self._elders[boot_id] >= RECORDS_OF_A_LIVING_TWIN:
                self._elder_alive = boot_id
