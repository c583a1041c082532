"""The three classes of failure, the closed set of reasons, and the exit codes.

    HilumError
    ├── RetryableError   the world may heal: the same work again, nothing committed
    ├── PoisonError      this record will never succeed: it alone goes to the dead letter
    └── FatalError       we are wrong: stop, say why, a person decides

Invariant: what no table translates is Fatal; nothing unknown is retried for ever or dropped.
"""

from __future__ import annotations

from enum import StrEnum

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
# sysexits' EX_CONFIG: the supervisor never restarts it, a person has to look.
EXIT_FATAL = 78


class HilumError(Exception):
    """Any failure that Hilum names. The text is a gerund with identifiers, no patient data."""


class RetryableError(HilumError):
    """Time-out, 5xx, leader change, disk full: the same work may succeed later."""


class PoisonError(HilumError):
    """A record that will never succeed. `reason` is one of the closed set."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class FatalError(HilumError):
    """Credentials, a missing table or topic, a broken invariant. `next_step` is for a person.

    The text has both, `problem` is the text without the step.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(f"{message}. Next step: {next_step}" if next_step else message)
        self.problem = message
        self.next_step = next_step


class Reason(StrEnum):
    """Why a record or an object was set aside. Closed: administrators filter by these words."""

    # records (dead letters)
    NOT_CONFLUENT = "not_confluent"  # no magic byte and schema id in front
    UNKNOWN_SCHEMA = "unknown_schema"  # the schema id is none of ours
    WRONG_EVENT = "wrong_event"  # a known schema, on a topic of another event
    MALFORMED_AVRO = "malformed_avro"  # the body does not decode by its schema
    OVERSIZE = "oversize"  # larger than any record of this topic may be
    INVALID_FIELD = "invalid_field"  # decodes, but breaks the contract's own rules
    CONTENT_MISMATCH = "content_mismatch"  # payload bytes are not those that were hashed
    REFUSED_BY_SINK = "refused_by_sink"  # the sink says this record can never be written
    # objects (quarantine, set by the gateway)
    UID_MISMATCH = "uid_mismatch"  # (0008,0016)/(0008,0018) differ from the command set's
    UNREADABLE = "unreadable"  # those two elements cannot be read
