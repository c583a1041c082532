"""Where the spool's tests write: in memory where the test is about order, not about a disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A directory whose flushes cost nothing, for tests that open thousands of spools."""
    if not _IN_MEMORY.is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="hilum-spool-", dir=_IN_MEMORY))
    yield path
    shutil.rmtree(path)
