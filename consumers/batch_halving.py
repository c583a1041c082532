"""What a consumer does whose memory ran out: its process begins anew with half the batch.

Invariant: nothing of a process whose memory ran out is used again. A poll that failed half-way may
have moved positions, a writer may hold half of a change: the program is loaded anew under the same
process id and goes on at the committed offsets. Must not halve for ever: a batch that cannot get
smaller is for whoever set the limits.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from consumers.runner import effective_limits
from consumers.spec import BatchLimits
from infra.settings import ConsumerSettings

# Half of half … of the largest batch that settings allow (100 000 records) is then one record.
HALVINGS_MAX = 17
OPTION = "--batch-halvings"
# How lack of memory is told where there is no class for it: a thread's stack, lz4 and zstd.
_TOLD_AS = ("can't start new thread", "ERROR_allocation_failed", "not enough memory")


def is_out_of_memory(cause: BaseException) -> bool:
    """Whether a smaller batch may help against `cause`, or what it came of."""
    if isinstance(cause, MemoryError) or any(told in str(cause) for told in _TOLD_AS):
        return True
    before = cause.__cause__ or cause.__context__
    return before is not None and is_out_of_memory(before)


def halved(limits: BatchLimits, own: ConsumerSettings, halvings: int) -> ConsumerSettings:
    """`own` with the batch that is left after so many halvings, of one record at least.

    It stays so until somebody starts the process again: what was too much once comes again.
    """
    whole = effective_limits(limits, own)
    smaller = {
        "batch_records_max": max(1, whole.records_max >> halvings),
        "batch_bytes_max": max(1, whole.bytes_max >> halvings),
    }
    return own.model_copy(update=smaller)


def begin_anew(halvings: int) -> NoReturn:
    """Replaces this process by the same command line with this many halvings.

    Whoever supervises it sees no end, so no supervisor's own rules for restarts play a part.
    """
    sys.stderr.flush()
    interpreter = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    arguments = sys.argv[1:]
    if OPTION in arguments:
        at = arguments.index(OPTION)
        del arguments[at : at + 2]
    command = [sys.executable, *interpreter, *arguments, OPTION, str(halvings)]
    os.execv(sys.executable, command)
