"""What a row of the fault matrix says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `tests` run in `hilum test`, `soak` in `hilum test --soak`, by node id."""

    number: str
    fault: str
    holds: str
    tests: tuple[str, ...] = ()
    soak: tuple[str, ...] = ()
