"""What a fuzz target is: one function over bytes that may only return or raise `Violation`.

Invariant: a check is a function of its case alone, so a saved case fails again by itself. It must
not sleep, use the network or write files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
CASE_BYTES_MAX = 8192


class Violation(AssertionError):
    """The product did with a case what its contract excludes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under test.

    `check` raises Violation, or whatever the product should not have let out. `sources` are the
    product's files, relative to the checkout, whose branches count. `memory_bytes_max` is what one
    check may take at most, `steps_max` how many lines of `sources` it may execute.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    tokens: tuple[bytes, ...]
    sources: tuple[str, ...]
    memory_bytes_max: int
    steps_max: int

    def corpus(self) -> list[bytes]:
        """The kept cases and the seeds, each once, the smallest first."""
        kept = [path.read_bytes() for path in (CORPUS / self.name).glob("*.bin")]
        return sorted({*kept, *self.seeds()}, key=lambda case: (len(case), case))


def require(holds: bool, text: str) -> None:
    """Raises Violation. `text` says what should hold, without the case's bytes."""
    if not holds:
        raise Violation(text)
