"""How much of each calling AE title is in the spool and not archived, and whether more may come.

Invariant: what is durable here and not known to be archived counts, also after a kill and while
the forward process is away; an AE title has never more than its quota, whatever is under way, and
no other one notices. Must not read the ledger: it is the forward process's own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.admission import ANY
from edge_gateway.spool import FileSystem, SpoolPosition
from edge_gateway.spool.filesystem import READ
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.mark import read_mark
from edge_gateway.spool.unread import UnreadSpan, unread_spans
from edge_gateway.unarchived import NOTHING_READ, read_unarchived
from infra.settings_admission import AdmitRule
from infra.telemetry import Metrics, logger

# The forward process tells as often.
REFRESH_S = 0.5
# While the forward process is away there is one more at each refresh; the oldest then go together.
SPANS_MAX = 4_096
_TITLES_TOLD = 5
_LOG = logger("quotas")


class QuotaReached(Exception):
    """The AE title has its quota of unarchived bytes here."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    held_bytes: int
    bytes_max: int


class Quotas:
    """The count of one gateway's spool, by calling AE title; safe from any thread."""

    def __init__(self, directory: Path, gateway_id: str) -> None:
        """Counts what the forward process has not read yet. Raises OSError."""
        self._directory = directory
        self._gateway_id = gateway_id
        self._fs = FileSystem()
        self._mark_descriptor = self._fs.open(SpoolLayout(directory).mark, READ)
        self._lock = threading.Lock()
        self._known = NOTHING_READ
        self._spans: deque[UnreadSpan] = deque()
        # Kept since the last span was closed, and what is still arriving.
        self._fresh: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._refused: dict[str, _Refusal] = {}
        self._fresh_until_s = 0.0
        self._known = read_unarchived(directory, gateway_id)
        self._spans.extend(unread_spans(directory, self._known.read_up_to))
        self._count()

    def close(self) -> None:
        """Lets go of the file; what still asks is answered by the last count."""
        with self._lock:
            self._fresh_until_s = math.inf
            self._fs.close(self._mark_descriptor)

    def take(self, title: str, size_bytes: int, bytes_max: int) -> None:
        """Makes room for bytes that arrive, or asks for it (0). Raises QuotaReached."""
        with self._lock:
            self._refresh()
            held_bytes = self._held[title] + self._arriving[title]
            if held_bytes + max(size_bytes, 1) > bytes_max:
                if title not in self._refused:
                    _LOG.warning("quota reached", calling=title, held_bytes=held_bytes)
                self._refused[title] = _Refusal(self._held[title], bytes_max)
                raise QuotaReached(f"{held_bytes} of {bytes_max} bytes are not archived")
            self._arriving[title] += size_bytes

    def keep(self, title: str, size_bytes: int) -> None:
        """What arrived is durable: it counts until the archive has it."""
        with self._lock:
            self._arriving[title] -= size_bytes
            self._fresh[title] += size_bytes
            self._held[title] += size_bytes
            self._refused.pop(title, None)

    def give_back(self, title: str, size_bytes: int) -> None:
        """What arrived is not kept."""
        with self._lock:
            self._arriving[title] -= size_bytes

    def bytes_of(self, title: str) -> int:
        """What of it is durable here and not known to be archived."""
        with self._lock:
            self._refresh()
            return self._held[title]

    def gauge(self, metrics: Metrics, rules: Iterable[AdmitRule]) -> None:
        """Sets the gauge of each AE title that a rule names; a peer's own word is no label."""
        for rule in rules:
            title = rule.calling_ae_title.strip()
            if rule.unarchived_bytes_max is not None and title != ANY:
                metrics.gauge("hilum_quota_unarchived_bytes", self.bytes_of(title), calling=title)

    def notes(self) -> str:
        """For readiness: the AE titles that are refused now; '' when none is."""
        with self._lock:
            self._refresh()
            told = [
                f"{title} ({refusal.held_bytes} of {refusal.bytes_max} bytes not archived)"
                for title, refusal in sorted(self._refused.items())[:_TITLES_TOLD]
            ]
            more = len(self._refused) - len(told)
        if not told:
            return ""
        return f"; quota reached: {', '.join(told)}{f' and {more} more' if more else ''}"

    def _refresh(self) -> None:
        now_s = time.monotonic()
        if now_s < self._fresh_until_s:
            return
        self._fresh_until_s = now_s + REFRESH_S
        try:
            known = read_unarchived(self._directory, self._gateway_id)
            mark = read_mark(self._fs, self._mark_descriptor) if self._fresh else None
        except OSError as cause:
            _LOG.warning("reading what is archived failed", reason=str(cause))
            return
        if mark is not None:
            # Whatever was kept until now stands before the mark, which moves before an answer.
            end = SpoolPosition(mark.segment_number, mark.end_bytes)
            self._spans.append(UnreadSpan(end, self._fresh))
            self._fresh = Counter()
        # Whoever damages the file takes no word back.
        if known.read_up_to >= self._known.read_up_to:
            self._known = known
        while self._spans and self._spans[0].end <= self._known.read_up_to:
            self._spans.popleft()
        if len(self._spans) > SPANS_MAX:
            first, second = self._spans.popleft(), self._spans.popleft()
            self._spans.appendleft(UnreadSpan(second.end, first.sizes + second.sizes))
        self._count()

    def _count(self) -> None:
        held = Counter(self._known.size_bytes) + self._fresh
        for span in self._spans:
            held.update(span.sizes)
        self._held = held
        self._arriving += Counter()  # drops what fell to zero
        for title, refusal in list(self._refused.items()):
            if held[title] < refusal.held_bytes:
                _LOG.info("quota has room again", calling=title, held_bytes=held[title])
                del self._refused[title]


def has_quota(rules: Iterable[AdmitRule]) -> bool:
    """Whether any rule sets one: a gateway without counts nothing."""
    return any(rule.unarchived_bytes_max is not None for rule in rules)
