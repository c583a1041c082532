"""The ways the spool says no, and the one place where an OSError gets its meaning.

Invariant: only what is certain to leave no acknowledged byte behind is called `SpoolFull`; every
disk error that is not known to be a lack of room is `SpoolBroken`. Must not swallow anything.
"""

from __future__ import annotations

import errno

from contracts.failures import FatalError, HilumError, RetryableError

# EMFILE, ENFILE and ENOMEM are a lack of room too: the object is refused, the disk is sound.
_NO_ROOM = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
)


class SpoolError(HilumError):
    """Any refusal of the spool."""


class SpoolFull(SpoolError, RetryableError):
    """No room: answer 0xA700 and refuse new associations; heals by itself when room returns."""


class SpoolStalled(SpoolFull):
    """The flush did not come back within `commit_wait_ms`; the delivery may still become durable.

    Answer 0xA700 and append that receipt with the delivery_id: the sender keeps its copy, and a
    duplicate is normal (02-gateway.md).
    """


class ObjectTooLarge(SpoolError):
    """The data set is longer than `object_bytes_max`; nothing of it is left behind."""


class SpoolBroken(SpoolError):
    """A disk error: nothing is acknowledged any more until the process is started again."""


class SpoolLocked(SpoolError, RetryableError):
    """Another living process holds this spool directory."""


class SpoolMismatch(SpoolError, FatalError):
    """The directory or the settings cannot be: other site, other format, limits that clash."""


class SpoolCorrupt(SpoolError):
    """Bytes on disk are not those that were written; names where, never what."""


class SpoolEntryGone(SpoolError):
    """The bytes were purged, or their segment was recycled: there is nothing to read any more."""


def translate(error: OSError, doing: str) -> SpoolFull | SpoolBroken:
    """The meaning of `error`, met while `doing` (a gerund); raise it `from` the original."""
    text = f"{doing}: {error.strerror or error} (errno {error.errno})"
    return SpoolFull(text) if error.errno in _NO_ROOM else SpoolBroken(text)
