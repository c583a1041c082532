"""What DCMTK's `storescu` and `dcmsend` say of each file, read from their own log.

Invariant: every file has a result, and a line that is not understood is never taken for a
success. Must not run anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Seconds since the epoch, then milliseconds with their fraction: log4cplus' %s and %Q.
LOG_CONFIGURATION = """\
log4cplus.rootLogger = INFO, console
log4cplus.appender.console = log4cplus::ConsoleAppender
log4cplus.appender.console.logToStdErr = false
log4cplus.appender.console.ImmediateFlush = true
log4cplus.appender.console.layout = log4cplus::PatternLayout
log4cplus.appender.console.layout.ConversionPattern = @%D{%s %Q} %p|%m%n
"""
# Searched, not matched: storescu writes its dots in front, without an end of line.
_LINE = re.compile(r"@(\d+) (\d+)\.(\d+) (\w+)\|(.*)")
_FILE = re.compile(r"Sending file: (.*)")
_REQUEST = re.compile(r"Sending (?:Store|C-STORE) Request \(MsgID \d+")
_RESPONSE = re.compile(r"Received (?:Store|C-STORE) Response \((.*)\)")
_UNKNOWN_STATUS = re.compile(r"Unknown Status: 0x([0-9a-fA-F]{1,4})")
_CONDITION = re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{4} (.*)")
_REJECTION = re.compile(r"(?:Result: (.*), Source: (.*)|Reason: (.*))")

# DCMTK prints a name for a whole class of statuses: the first number of the class stands for it.
_STATUSES = {
    "Success": 0x0000,
    "Refused: OutOfResources": 0xA700,
    "Refused: SOPClassNotSupported": 0x0122,
    "Error: DataSetDoesNotMatchSOPClass": 0xA900,
    "Error: CannotUnderstand": 0xC000,
    "Warning: CoercionOfDataElements": 0xB000,
    "Warning: ElementsDiscarded": 0xB006,
    "Warning: DataSetDoesNotMatchSOPClass": 0xB007,
}
_PROBLEMS = (
    ("Connection refused", "refused"),
    ("Association Rejected", "rejected"),
    ("Peer aborted", "aborted or closed by the peer"),
    ("Finite State Machine", "association lost before"),
    ("Failed to send message", "association lost before"),
    ("timeout", "timed out"),
    ("presentation context", "presentation context not accepted"),
)


@dataclass(slots=True)
class FileResult:
    """What became of one file. Times are seconds since the epoch; None: it was not reached."""

    sent_at: float | None = None
    answered_at: float | None = None
    status: int | None = None
    problem: str = ""


@dataclass(slots=True)
class ProgramResult:
    """What one process did: a result of each of its files, in their order, and what ended its
    association before it began ('' for nothing)."""

    files: list[FileResult]
    association_problem: str = ""
    associations: int = 0
    rejection: list[str] = field(default_factory=list)


def read_output(text: str, files: Sequence[Path]) -> ProgramResult:
    """The results in a log that was written by LOG_CONFIGURATION.

    storescu names each file; dcmsend does not, and sends them in the order it was given.
    """
    result = ProgramResult([FileResult() for _ in files])
    numbers = {str(path): number for number, path in enumerate(files)}
    current = _Current(result, numbers)
    for line in text.splitlines():
        found = _LINE.search(line)
        if found:
            seconds, thousandths, fraction, level, message = found.groups()
            at = int(seconds) + float(f"{thousandths}.{fraction}") / 1000
            current.take(at, level, message)
    if result.rejection:
        result.association_problem = f"rejected: {', '.join(result.rejection)}"
    return result


def problem_name(message: str) -> str:
    """A short name without paths or UIDs, so that the same problem counts as one."""
    for fragment, name in _PROBLEMS:
        if fragment.lower() in message.lower():
            return name
    condition = _CONDITION.search(message)
    return condition[1] if condition else message.split(":")[0].strip()


class _Current:
    """The file that a log is speaking of."""

    def __init__(self, result: ProgramResult, numbers: dict[str, int]) -> None:
        self._result = result
        self._numbers = numbers
        self._is_naming = False
        self._requests = 0
        self._file: FileResult | None = None

    def take(self, at: float, level: str, message: str) -> None:
        if found := _FILE.match(message):
            self._is_naming = True
            number = self._numbers.get(found[1])
            self._file = None if number is None else self._result.files[number]
        elif _REQUEST.match(message):
            self._begin(at)
        elif found := _RESPONSE.match(message):
            self._answer(at, found[1])
        elif message.startswith("Association Accepted"):
            self._result.associations += 1
        elif message.startswith("Releasing Association"):
            # What goes wrong from here on is no file's.
            self._file = None
        elif level in ("ERROR", "FATAL"):
            self._fail(level, message)

    def _begin(self, at: float) -> None:
        if not self._is_naming:
            files = self._result.files
            self._file = files[self._requests] if self._requests < len(files) else None
            self._requests += 1
        if self._file is not None:
            self._file.sent_at = at

    def _answer(self, at: float, name: str) -> None:
        if self._file is None:
            return
        unknown = _UNKNOWN_STATUS.search(name)
        status = int(unknown[1], 16) if unknown else _STATUSES.get(name)
        if status is None:
            self._file.problem = f"response not understood: {name}"
        else:
            self._file.status, self._file.answered_at = status, at

    def _fail(self, level: str, message: str) -> None:
        rejection = _REJECTION.match(message)
        if rejection:
            self._result.rejection += [part for part in rejection.groups() if part]
        elif self._file is None:
            if not self._result.association_problem and "Failed" not in message[:24]:
                self._result.association_problem = problem_name(message)
        elif self._file.status is None and not message.startswith("Store Failed"):
            self._file.problem = self._file.problem or problem_name(message)
