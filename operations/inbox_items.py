"""What became of one file of an inbox, by the answers to the instances in it.

Invariant: a file is stored only when each of its instances was, and failed only by what no other
try will change. It must not touch a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_gateway.scu import CONTEXT_NOT_TAKEN, SendResult
from operations.gather import Gathered
from operations.inbox_files import Complete
from operations.inputs import End, InputProblem

_OUT_OF_RESOURCES = 0xA700
# Of this machine and this moment, not of the file.
_PASSING = frozenset((End.UNREADABLE, End.NO_ROOM))


@dataclass(slots=True)
class Item:
    """A file of the inbox and its instances: one, or as many as a zip archive has.

    `answer`: why an instance may be taken later; `is_full`: because the peer or a disk is full.
    """

    file: Complete
    gathered: Gathered
    stored: int = 0
    refused: str = ""
    answer: str = ""
    is_full: bool = False

    def __post_init__(self) -> None:
        self.is_full = any(one.end == End.NO_ROOM for one in self.gathered.problems)

    @property
    def is_stored(self) -> bool:
        """Whether every instance in it was taken, and nothing else was in it."""
        return self.stored == len(self.gathered.instances) and not (self.failure or self.waiting)

    @property
    def failure(self) -> str:
        """Why it never will be sent as a whole; '' where it may."""
        lasting = (one for one in self.gathered.problems if one.end not in _PASSING)
        return self.refused or _text(next(lasting, None))

    @property
    def waiting(self) -> str:
        """Why it stays and is tried again; '' where it need not."""
        passing = (one for one in self.gathered.problems if one.end in _PASSING)
        return self.answer or _text(next(passing, None))


def note(item: Item, result: SendResult) -> None:
    """Adds the answer to one of its instances."""
    status = result.status
    if result.is_stored:
        item.stored += 1
    elif status is None and result.problem != CONTEXT_NOT_TAKEN:
        item.answer = result.problem
    elif status is not None and status & 0xFF00 == _OUT_OF_RESOURCES:
        item.answer = f"{status:04X} {result.comment}".strip()
        item.is_full = True
    else:
        end = End.REFUSED if status is not None else End.UNANSWERED
        said = result.problem or f"{status:04X} {result.comment}".strip()
        item.refused = f"{end.value}: {said}"


def _text(problem: InputProblem | None) -> str:
    return "" if problem is None else f"{problem.end.value}: {problem.reason}"
