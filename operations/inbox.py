"""`hilum inbox`: a folder whose files are sent once they are complete, and then put away.

Invariant: a file is put away only when every instance in it was answered with success or a
warning, or set apart with its reason when it never will be; what got no answer, or A7xx, stays
and is tried again. A kill loses nothing: what was not put away is sent again, which is harmless.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_gateway.outgoing import OutgoingInstance
from edge_gateway.scu import CONTEXT_NOT_TAKEN, Peer, SendResult, StoreScu
from operations.gather import Gathered, gather
from operations.inbox_files import (
    FAILED,
    QUARANTINE,
    SENT,
    Complete,
    InboxFiles,
    Signature,
    locked,
)
from operations.inputs import End, parts_of

# Read, sent and put away together.
FILES_A_ROUND_MAX = 200
LOOK_EVERY_S = 1.0
WAIT_S_MAX = 60.0
# Rounds in which a file got no answer while others did: it is the file, then.
TRIES_MAX = 5
_OUT_OF_RESOURCES = 0xA700


@dataclass(frozen=True, slots=True)
class InboxOptions:
    """`settle_s`: how long a file must not have changed. `is_once`: until nothing is left that
    could be sent now. `deletes`: what was sent is deleted and not moved to `.sent`."""

    folder: Path
    settle_s: float = 2.0
    is_once: bool = False
    deletes: bool = False
    look_every_s: float = LOOK_EVERY_S


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """One line of `hilum inbox --json`. `event`: sent, failed, waiting, ended."""

    event: str
    file: str = ""
    reason: str = ""
    instances: int = 0
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Item:
    """A file of the inbox and its instances: one, or as many as a zip archive has."""

    file: Complete
    gathered: Gathered
    stored: int = 0
    refused: str = ""
    waiting: str = ""

    @property
    def is_stored(self) -> bool:
        return self.stored == len(self.gathered.instances) and not self.failure

    @property
    def failure(self) -> str:
        """Why it never will be sent as a whole; '' where it may."""
        problems = self.gathered.problems
        return self.refused or (
            f"{problems[0].end.value}: {problems[0].reason}" if problems else ""
        )


@dataclass(slots=True)
class _Past:
    """What earlier rounds know of a file that is still there."""

    tries: int = 0
    said: str = ""
    held: Signature | None = None


class Inbox:
    """Watches one folder and sends to one peer."""

    def __init__(
        self, options: InboxOptions, peer: Peer, tell: Callable[[InboxEvent], None]
    ) -> None:
        self._options = options
        self._files = InboxFiles(options.folder, options.settle_s)
        self._peer = peer
        self._tell = tell
        self._counts: Counter[str] = Counter()
        self._past: dict[Path, _Past] = {}
        self._fruitless = 0

    def watch(self) -> bool:
        """Sends until it is interrupted, which is well; once: whether nothing failed or is left.

        Raises FatalError where the folder cannot be used or another process has it.
        """
        left, changing = 0, 0
        began_s = time.monotonic()
        with locked(self._options.folder), contextlib.suppress(KeyboardInterrupt):
            while True:
                ready, changing = self._ready()
                waiting = self._round(ready[:FILES_A_ROUND_MAX])
                more = len(ready) > FILES_A_ROUND_MAX
                left = waiting + max(0, len(ready) - FILES_A_ROUND_MAX)
                if self._is_over(time.monotonic() - began_s, changing) and (waiting or not more):
                    break
                if waiting or not more:
                    time.sleep(self._pause_s(waiting))
        counts = {**self._counts, "left": left, "not complete": changing}
        self._tell(InboxEvent("ended", counts=counts))
        return not self._options.is_once or not (left or self._counts["failed"])

    def _ready(self) -> tuple[list[Complete], int]:
        files, changing = self._files.complete()
        self._past = {path: past for path, past in self._past.items() if self._files.has(path)}
        held = {path: past.held for path, past in self._past.items()}
        return [one for one in files if held.get(one.path) != one.signature], changing

    def _is_over(self, seconds: float, changing: int) -> bool:
        """What is still written to is not waited for longer than a complete file needs."""
        patience_s = 2 * (self._options.settle_s + self._options.look_every_s)
        return self._options.is_once and (not changing or seconds > patience_s)

    def _pause_s(self, waiting: int) -> float:
        self._fruitless = self._fruitless + 1 if waiting else 0
        doubled = self._options.look_every_s * 2.0 ** min(self._fruitless, 10)
        if waiting:
            return min(doubled, WAIT_S_MAX)
        return min(self._options.look_every_s, self._options.settle_s)

    def _round(self, files: Iterable[Complete]) -> int:
        """Sends these and puts away what has an end; how many stay."""
        with tempfile.TemporaryDirectory(prefix="hilum-inbox-") as scratch:
            items = [self._item(file, Path(scratch)) for file in files]
            owner = {id(one): item for item in items for one in item.gathered.instances}
            for item in items:
                if not item.gathered.instances:
                    self._put_away(item)

            def on_result(result: SendResult) -> None:
                item = owner[id(result.instance)]
                _note(item, result)
                if item.is_stored:
                    self._put_away(item)

            StoreScu().send(_instances(items), self._peer, on_result)
        return self._after(items)

    def _item(self, file: Complete, scratch: Path) -> _Item:
        return _Item(file, gather(parts_of(file.path, scratch), None, lambda: None))

    def _after(self, items: list[_Item]) -> int:
        """Sets apart what failed; the others without an answer stay."""
        any_answer = any(item.stored or item.refused for item in items)
        waiting = 0
        for item in items:
            if not item.gathered.instances or item.is_stored:
                continue
            past = self._past.setdefault(item.file.path, _Past())
            past.tries += 1 if any_answer else 0
            if item.waiting and past.tries < TRIES_MAX:
                waiting += 1
                if past.said != item.waiting:
                    past.said = item.waiting
                    self._tell(InboxEvent("waiting", self._name(item), item.waiting))
            else:
                self._put_away(item)
        return waiting

    def _put_away(self, item: _Item) -> None:
        """Moves or deletes a file whose end is known, and tells of it."""
        is_good = item.is_stored
        reason = "" if is_good else item.failure or item.waiting
        try:
            is_away = self._away(item, is_good, reason)
        except OSError as cause:
            # It stays, and is left alone until it changes or we begin anew.
            reason, is_good, is_away = f"putting it away: {cause.strerror}", False, True
            self._past.setdefault(item.file.path, _Past()).held = item.file.signature
        if not is_away:
            # It was written to meanwhile: what it is now is another file.
            self._tell(InboxEvent("waiting", self._name(item), "it changed while it was sent"))
            return
        event = "sent" if is_good else "failed"
        self._counts[event] += 1
        finding = item.gathered.findings[0].reason if item.gathered.findings else ""
        self._tell(InboxEvent(event, self._name(item), reason or finding, item.stored))

    def _away(self, item: _Item, is_good: bool, reason: str) -> bool:
        if not is_good:
            return self._files.move(item.file, FAILED, {"file": self._name(item), "reason": reason})
        if item.gathered.findings:
            finding = {"file": self._name(item), "reason": item.gathered.findings[0].reason}
            return self._files.move(item.file, QUARANTINE, finding)
        if self._options.deletes:
            return self._files.delete(item.file)
        return self._files.move(item.file, SENT)

    def _name(self, item: _Item) -> str:
        return str(item.file.path.relative_to(self._options.folder))


def _note(item: _Item, result: SendResult) -> None:
    if result.is_stored:
        item.stored += 1
    elif result.status is None and result.problem != CONTEXT_NOT_TAKEN:
        item.waiting = result.problem
    elif result.status is not None and result.status & 0xFF00 == _OUT_OF_RESOURCES:
        item.waiting = f"{result.status:04X} {result.comment}".strip()
    else:
        end = End.REFUSED if result.status is not None else End.UNANSWERED
        said = result.problem or f"{result.status:04X} {result.comment}".strip()
        item.refused = f"{end.value}: {said}"


def _instances(items: Iterable[_Item]) -> list[OutgoingInstance]:
    return [one for item in items for one in item.gathered.instances]
