"""What `hilum doctor` finds, and how its checks are run: side by side, each with an end.

Invariant: every check gives at least one finding within CHECK_S_MAX; one that fails or hangs is
itself a finding, and never takes the others' answers with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Literal

from contracts.failures import FatalError

Verdict = Literal["ok", "warning", "error"]

# Longer than each check's own time-outs together, so that it only cuts off what hangs.
CHECK_S_MAX = 40.0
CHECKS_AT_ONCE = 16
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `fix` is a command, or the setting to change; '' where all is well."""

    subject: str
    check: str
    verdict: Verdict
    seen: str
    expected: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question about one subject; `examine` may raise and may take its time."""

    subject: str
    name: str
    expected: str
    fix: str
    examine: Callable[[], Iterable[Finding]]


def judge(
    subject: str, check: str, verdict: Verdict, seen: str, wanted: tuple[str, str]
) -> Finding:
    """A finding; `wanted` are what was expected and the fix, which a good one does not need."""
    expected, fix = wanted
    return Finding(subject, check, verdict, seen, expected, "" if verdict == "ok" else fix)


def examine(
    checks: Sequence[Check],
    tell: Callable[[str], None],
    seconds_max: float = CHECK_S_MAX,
) -> tuple[Finding, ...]:
    """The findings of all checks in their order. Raises nothing and returns in time."""
    run = _Run(checks, tell)
    # Its threads are daemons: one that hangs does not keep the process from ending.
    pool = ThreadPool(min(CHECKS_AT_ONCE, max(1, len(checks))))
    for number, check in enumerate(checks):
        pool.apply_async(
            run.examine,
            (number, check),
            error_callback=partial(run.note_failure, number),
        )
    pool.close()
    run.wait(seconds_max)
    return run.findings(seconds_max)


class _Run:
    def __init__(self, checks: Sequence[Check], tell: Callable[[str], None]) -> None:
        self._checks = checks
        self._tell = tell
        self._lock = threading.Lock()
        self._found: list[list[Finding]] = [[] for _ in checks]
        self._ended: set[int] = set()

    def examine(self, number: int, check: Check) -> None:
        """What a check found before it fails or hangs is kept."""
        for finding in check.examine():
            with self._lock:
                self._found[number].append(finding)
        self._end(number)

    def note_failure(self, number: int, cause: BaseException) -> None:
        with self._lock:
            self._found[number].append(_failed(self._checks[number], cause))
        self._end(number)

    def _end(self, number: int) -> None:
        check = self._checks[number]
        with self._lock:
            self._ended.add(number)
            self._tell(f"{len(self._ended)} of {len(self._checks)}: {check.subject}, {check.name}")

    def wait(self, seconds_max: float) -> None:
        end = time.monotonic() + seconds_max
        while time.monotonic() < end:
            with self._lock:
                if len(self._ended) == len(self._checks):
                    return
            time.sleep(_POLL_S)

    def findings(self, seconds_max: float) -> tuple[Finding, ...]:
        with self._lock:
            every: list[Finding] = []
            for number, check in enumerate(self._checks):
                every += self._found[number]
                if number not in self._ended:
                    every.append(_silent(check, seconds_max))
        return tuple(every)


def _failed(check: Check, cause: BaseException) -> Finding:
    fix, seen = check.fix, str(cause) or type(cause).__name__
    if isinstance(cause, FatalError) and cause.next_step:
        seen, fix = cause.problem, cause.next_step
    return Finding(check.subject, check.name, "error", seen, check.expected, fix)


def _silent(check: Check, seconds_max: float) -> Finding:
    seen = f"no answer in {seconds_max:.0f} s"
    return Finding(check.subject, check.name, "error", seen, check.expected, check.fix)
