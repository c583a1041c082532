"""A consumer whose writer needs much memory for each record: `NAME --settings FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consumers import catalog
from consumers.__main__ import main
from consumers.spec import Record, Rejection, Writer
from infra.connect import Engines

MIB = 1024 * 1024
# Above the most that the C library keeps for itself: it goes back to the system at once.
BYTES_A_RECORD = 40 * MIB


class Hungry:
    """Holds so many bytes for each record, and lets go of them before the real writer writes.

    With nothing left the C code below that one may end the process (seen: SIGSEGV) and not fail.
    """

    def __init__(self, inner: Writer) -> None:
        self._inner = inner

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        held = [bytes(BYTES_A_RECORD) for _ in batch]
        held.clear()
        return self._inner.write(batch)

    def tick(self) -> None:
        self._inner.tick()

    def close(self) -> None:
        self._inner.close()


def hungry() -> int:
    """Runs the consumer's own entry with writers that are hungry."""

    def build_of(build: Any) -> Any:
        def made(engines: Engines) -> Writer:
            return Hungry(build(engines))

        return made

    catalog.CATALOG = tuple(replace(spec, build=build_of(spec.build)) for spec in catalog.CATALOG)
    return main()


if __name__ == "__main__":
    sys.exit(hungry())
