"""A worker process lives no longer than the acceptor that started it.

Invariant: a worker whose acceptor was killed is killed by the kernel at that moment, so its spool
is free for the next one; a recovery finds what was acknowledged. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> bool:
    """On return of True the kernel kills this process when `parent` ends; False: it has ended.

    The parent must have started us from its main thread: the signal is bound to that thread.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent
