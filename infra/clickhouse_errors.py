"""ClickHouse's error codes as Hilum's three failure classes, in one table.

Invariant: a code that is not listed is Fatal; the texts made here carry codes and names of ours,
never a statement, a value or the server's own words, which may hold a patient's data.
"""

from __future__ import annotations

from contracts.failures import FatalError, HilumError, PoisonError, Reason, RetryableError

# Codes by ClickHouse's src/Common/ErrorCodes.cpp.
_HEALS: dict[int, str] = {
    3: "unexpected end of input",
    23: "cannot read from stream",
    24: "cannot write to stream",
    33: "cannot read all data",
    74: "cannot read from a file",
    75: "cannot write to a file",
    76: "cannot open a file",
    95: "cannot read from a socket",
    96: "cannot write to a socket",
    159: "time-out exceeded",
    160: "too slow",
    173: "cannot allocate memory",
    198: "host name not resolved",
    202: "too many simultaneous queries",
    203: "no free connection",
    209: "socket time-out",
    210: "network error",
    225: "no Keeper",
    236: "aborted",
    241: "memory limit exceeded",
    242: "table is read-only",
    243: "not enough space",
    252: "too many parts",
    254: "no active replicas",
    279: "all connection tries failed",
    285: "too few live replicas",
    286: "quorum not satisfied",
    289: "replica is not in quorum",
    319: "unknown status of an insert",
    373: "session is locked",
    394: "query was cancelled",
    425: "system error",
    439: "no thread could be scheduled",
    473: "possible deadlock avoided",
    499: "its object store failed",
    735: "query was cancelled by a client",
    999: "Keeper error",
    1000: "network library error",
}

# Only while rows are inserted: the same code from a statement of ours is a mistake of ours.
_REFUSED_VALUES: dict[int, str] = {
    6: "text that cannot be parsed",
    26: "a quoted string that cannot be parsed",
    27: "input that is not as expected",
    38: "a date that cannot be parsed",
    41: "a time that cannot be parsed",
    53: "a value of another type",
    69: "an argument out of bound",
    72: "a number that cannot be parsed",
    117: "incorrect data",
    128: "an array that is too large",
    131: "a string that is too large",
    321: "a value out of its type's range",
    349: "a NULL where none may be",
    407: "a decimal that overflows",
}

_MIGRATE = "run `hilum up`, or apply the migrations to this database"
_CREDENTIALS = "check username and password in the clickhouse section of this site's settings"
_OURS: dict[int, tuple[str, str]] = {
    10: ("a column was not found in a block", _MIGRATE),
    16: ("no such column", _MIGRATE),
    47: ("unknown identifier", _MIGRATE),
    60: ("no such table", _MIGRATE),
    81: ("no such database", _MIGRATE),
    115: ("unknown setting", "use ClickHouse 25.8 or newer"),
    164: ("the user may only read", "grant this user INSERT on the database"),
    192: ("unknown user", _CREDENTIALS),
    193: ("wrong password", _CREDENTIALS),
    194: ("a password is required", _CREDENTIALS),
    497: ("not enough privileges", "grant this user SELECT, INSERT and CREATE on the database"),
    516: ("authentication failed", _CREDENTIALS),
}


def translate(code: int | None, doing: str, is_insert: bool) -> HilumError:
    """The failure that `code` means while `doing`; None stands for no answer by ClickHouse."""
    if code is None:
        return RetryableError(f"{doing}: no answer from ClickHouse")
    if code in _HEALS:
        return RetryableError(f"{doing}: ClickHouse code {code}, {_HEALS[code]}")
    if is_insert and code in _REFUSED_VALUES:
        detail = f"{doing}: ClickHouse code {code}, {_REFUSED_VALUES[code]}"
        return PoisonError(Reason.REFUSED_BY_SINK, detail)
    if code in _OURS:
        meaning, next_step = _OURS[code]
        return FatalError(f"{doing}: ClickHouse code {code}, {meaning}", next_step)
    return FatalError(
        f"{doing}: ClickHouse code {code}", "look it up in the server's own log or system.errors"
    )
