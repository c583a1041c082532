"""A worker of the lean sender seen from its parent: job in, ready, start, answers out.

Invariant: no read waits past its deadline and no worker outlives its block. Must not know what
is sent.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from contracts.failures import FatalError
from load.lean_worker.job import READY, Answers, decode_answers

# Where `python -m load…` finds the sources, wherever it was started.
SOURCE_ROOT = Path(__file__).resolve().parents[2]
_READ_BYTES = 1024 * 1024
_STDERR_TAIL_BYTES = 2000
_END_TIMEOUT_S = 5.0


class WorkerProcess:
    """A context manager over one worker; used by one thread."""

    def __init__(self) -> None:
        # Closed with the block that this object is.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "load.lean_worker"],
            cwd=SOURCE_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(_END_TIMEOUT_S)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what it did not read of its job goes with it

    def give(self, data: bytes) -> None:
        """Writes a job or a start. Raises FatalError where the worker has gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError as cause:
            raise self._gone() from cause

    def wait_ready(self, timeout_s: float) -> None:
        """Returns once its associations are open or given up. Raises FatalError."""
        if self._read(len(READY), time.monotonic() + timeout_s) != READY:
            raise self._gone()

    def answers(self, timeout_s: float) -> Answers:
        """What it found. Raises FatalError where it does not say in time."""
        deadline = time.monotonic() + timeout_s
        return decode_answers(lambda size: self._read(size, deadline))

    def _read(self, size_bytes: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        data = bytearray()
        while len(data) < size_bytes:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not select.select([descriptor], [], [], remaining_s)[0]:
                raise FatalError("waiting for a worker of the lean sender: it does not answer")
            piece = os.read(descriptor, min(size_bytes - len(data), _READ_BYTES))
            if not piece:
                raise self._gone()
            data += piece
        return bytes(data)

    def _gone(self) -> FatalError:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - _STDERR_TAIL_BYTES, 0))
        tail = self._errors.read().decode("utf-8", "replace").strip()
        return FatalError(f"running a worker of the lean sender: it ended early: {tail}")
