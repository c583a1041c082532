"""Large buffers come from memory that the process has already."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of filling 8 MiB forty times, with or without the call.
_COUNT = """
import resource, sys
from infra.memory_reuse import reuse_large_buffers
if sys.argv[1] == "reuse":
    assert reuse_large_buffers()
held = [b"1" * (8 << 20) for _ in range(2)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    held = [b"1" * (8 << 20) for _ in range(2)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_passing_buffers_do_not_fault_their_pages_in_anew() -> None:
    anew, reused = (_page_faults(how) for how in ("anew", "reuse"))
    assert reused * 4 < anew, (anew, reused)


def _page_faults(how: str) -> int:
    command = (sys.executable, "-c", _COUNT, how)
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
