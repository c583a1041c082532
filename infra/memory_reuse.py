"""How this process gets its large buffers from the C library: by using the last ones again.

Invariant: only where freed memory waits is changed, never what is freed; where the C library is
another one nothing happens. It must be called before the first large buffer, once a process.
"""

from __future__ import annotations

import ctypes

MIB = 1024 * 1024
# glibc takes every buffer above 128 KiB from the kernel and gives it back when it is freed: each
# 4 KiB of a passing payload were then cleared and mapped anew, again with each copy on its way
# (object-archive: 3.6 CPU s a GB in the kernel; 1.0 so). 32 MiB is the most that glibc takes.
MMAP_THRESHOLD_BYTES = 32 * MIB
# What may stay with the process when it is idle: about what its packs need at their peak.
KEPT_BYTES_MAX = 256 * MIB
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def reuse_large_buffers() -> bool:
    """Whether the C library keeps large buffers for the next ones from now on (glibc does)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX))
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)) and kept
