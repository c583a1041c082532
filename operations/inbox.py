"""`hilum inbox`: a folder whose files are sent once they are complete, and then put away.

Invariant: a file is put away only when every instance in it was answered with success or a
warning, or set apart with its reason when it never will be; what got no answer, or A7xx, stays
and is tried again. A kill loses nothing: what was not put away is sent again, which is harmless.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_gateway.outgoing import OutgoingInstance
from edge_gateway.scu import Peer, SendResult, StoreScu
from operations.answers import plain_text
from operations.gather import gather
from operations.inbox_files import (
    FAILED,
    QUARANTINE,
    SENT,
    Complete,
    InboxFiles,
    Signature,
    locked,
)
from operations.inbox_items import Item, note
from operations.inputs import parts_of

# Read, sent and put away together.
FILES_A_ROUND_MAX = 200
LOOK_EVERY_S = 1.0
WAIT_S_MAX = 60.0
# Rounds in which a file got no answer while others did: it is the file, then.
TRIES_MAX = 5
# Unpacked for one round; the archive that passes it is still taken as a whole.
UNPACKED_BYTES_A_ROUND = 2 * 1024**3


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
    """One line of `hilum inbox --json`. `event`: sent, failed, waiting, ended, error."""

    event: str
    file: str = ""
    reason: str = ""
    instances: int = 0
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Past:
    """What earlier rounds know of a file that is still there.

    `tries`: rounds in which it got no answer and others did; `waits`: in which it had no end.
    """

    tries: int = 0
    waits: int = 0
    said: str = ""
    held: Signature | None = None


@dataclass(frozen=True, slots=True)
class _Round:
    """What a round did: files `taken`, without an end (`waiting`), and with one (`put_away`).

    `is_answered`: the peer answered something, be it A7xx.
    """

    taken: int
    waiting: int
    put_away: int
    is_answered: bool


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
        left, changing, is_over = 0, 0, False
        moved_s = time.monotonic()
        with locked(self._options.folder), contextlib.suppress(KeyboardInterrupt):
            while not is_over:
                ready, changing = self._ready()
                left = len(ready)
                done = self._round(ready)
                left -= done.put_away
                if done.put_away:
                    moved_s = time.monotonic()
                goes_on = left > done.waiting and (
                    done.put_away > 0
                    or (done.is_answered and self._is_any_new(ready[done.taken :]))
                )
                is_over = self._is_over(time.monotonic() - moved_s, changing) and not goes_on
                if not (is_over or goes_on):
                    time.sleep(self._pause_s(done))
        counts = {**self._counts, "left": left, "not complete": changing}
        self._tell(InboxEvent("ended", counts=counts))
        is_all_sent = is_over and not (left or changing or self._counts["failed"])
        return is_all_sent or not self._options.is_once

    def _ready(self) -> tuple[list[Complete], int]:
        """What is complete: first what was not tried yet, so that what waits holds up nothing."""
        files, changing = self._files.complete()
        self._past = {path: past for path, past in self._past.items() if self._files.has(path)}
        held = {path: past.held for path, past in self._past.items()}
        ready = [one for one in files if held.get(one.path) != one.signature]
        return sorted(ready, key=lambda one: self._waits(one)), changing

    def _waits(self, file: Complete) -> int:
        past = self._past.get(file.path)
        return past.waits if past else 0

    def _is_any_new(self, files: Iterable[Complete]) -> bool:
        return any(not self._waits(file) for file in files)

    def _is_over(self, idle_s: float, changing: int) -> bool:
        """What is still written to is not waited for longer than a complete file needs."""
        patience_s = 2 * (self._options.settle_s + self._options.look_every_s)
        return self._options.is_once and (not changing or idle_s > patience_s)

    def _pause_s(self, done: _Round) -> float:
        """The longer, the more rounds moved nothing; what is new is looked for soon."""
        is_fruitless = done.waiting > 0 and not done.put_away
        self._fruitless = self._fruitless + 1 if is_fruitless else 0
        if done.waiting:
            return min(self._options.look_every_s * 2.0 ** min(self._fruitless, 10), WAIT_S_MAX)
        return min(self._options.look_every_s, self._options.settle_s)

    def _round(self, files: Sequence[Complete]) -> _Round:
        """Sends the first of these and puts away what has an end."""
        ended = self._counts.total()
        try:
            scratch = Path(tempfile.mkdtemp(prefix="hilum-inbox-"))
        except OSError as cause:
            reason = f"making a folder to unpack in: {cause.strerror}"
            self._tell(InboxEvent("waiting", "", reason))
            return _Round(0, len(files), 0, False)
        try:
            items = self._items(files, scratch)
            self._send(items)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        is_answered = any(item.stored or item.refused or item.is_full for item in items)
        waiting = self._after(items)
        return _Round(len(items), waiting, self._counts.total() - ended, is_answered)

    def _items(self, files: Iterable[Complete], scratch: Path) -> list[Item]:
        """As many as a round takes, and no more than there is room for to unpack."""
        items: list[Item] = []
        unpacked_bytes = 0
        for file in itertools.islice(files, FILES_A_ROUND_MAX):
            item = Item(file, gather(parts_of(file.path, scratch), None, lambda: None))
            items.append(item)
            unpacked_bytes += sum(
                one.size_bytes for one in item.gathered.instances if one.path != file.path
            )
            if unpacked_bytes > UNPACKED_BYTES_A_ROUND:
                break
        return items

    def _send(self, items: list[Item]) -> None:
        owner = {id(one): item for item in items for one in item.gathered.instances}
        for item in items:
            if not item.gathered.instances and not item.waiting:
                self._put_away(item)

        def on_result(result: SendResult) -> None:
            item = owner[id(result.instance)]
            note(item, result)
            if item.is_stored:
                self._put_away(item)

        StoreScu().send(_instances(items), self._peer, on_result)

    def _after(self, items: list[Item]) -> int:
        """Sets apart what failed; how many stay because they may be taken later."""
        any_end = any(item.stored or item.refused for item in items)
        waiting = 0
        for item in items:
            if item.is_stored or not (item.gathered.instances or item.waiting):
                continue
            past = self._past.setdefault(item.file.path, _Past())
            past.waits += 1
            # What is full says nothing of the file.
            past.tries += 1 if any_end and not item.is_full else 0
            if item.waiting and past.tries < TRIES_MAX:
                waiting += 1
                if past.said != item.waiting:
                    past.said = item.waiting
                    self._tell(InboxEvent("waiting", self._name(item), item.waiting))
            else:
                self._put_away(item)
        return waiting

    def _put_away(self, item: Item) -> None:
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

    def _away(self, item: Item, is_good: bool, reason: str) -> bool:
        if not is_good:
            return self._files.move(item.file, FAILED, {"file": self._name(item), "reason": reason})
        if item.gathered.findings:
            finding = {"file": self._name(item), "reason": item.gathered.findings[0].reason}
            return self._files.move(item.file, QUARANTINE, finding)
        if self._options.deletes:
            return self._files.delete(item.file)
        return self._files.move(item.file, SENT)

    def _name(self, item: Item) -> str:
        return plain_text(str(item.file.path.relative_to(self._options.folder)))


def _instances(items: Iterable[Item]) -> list[OutgoingInstance]:
    return [one for item in items for one in item.gathered.instances]
