"""What the machine itself can do: flushed appends, flushes, plain writes, bytes through loopback.

Invariant: no DICOM, no hash and none of the product's code is measured here, so that a share of
such a limit says what our protocol work costs. Every figure is bounded in time, files are removed.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from contracts.failures import FatalError
from load.receivers.process import own_process

MIB = 1024 * 1024
# One segment of the spool by default: written over again and again, as recycled segments are.
REGION_BYTES = 256 * MIB
# Head, facts and padding of a delivery's record and the receipt behind it, as the spool writes
# them for a C-STORE (704 + 352 bytes).
RECORD_BYTES = 1056
THREADS_MAX = 256
SECONDS_MAX = 60.0
DISK_WRITE_BYTES_MAX = 1024 * MIB
_FLUSHED_BYTES = 4096
_BLOCK_BYTES = MIB
_CONNECT_WITHIN_S = 90.0
_SOURCE = "load.receivers.programs.loopback_source"


def own_write_pattern(directory: Path, size_bytes: int, seconds: float, threads: int) -> float:
    """Objects of `size_bytes` per second that are on the disk when their thread goes on.

    The spool's pattern without DICOM: `threads` writers, each with one object in flight, write
    record and object into a file that was filled with zeros before; one fdatasync answers for all
    that were written before it began (group commit). Raises FatalError, OSError.
    """
    _require(seconds, threads)
    record = secrets.token_bytes(size_bytes + RECORD_BYTES)
    with _zero_filled_file(directory, max(REGION_BYTES, threads * len(record))) as file:
        region = Region(*file)
        stop = threading.Event()
        counts = [0] * threads

        def write(index: int) -> None:
            while not stop.is_set() and region.failure is None:
                region.append(record)
                counts[index] += 1

        workers = [threading.Thread(target=write, args=(index,)) for index in range(threads)]
        started_s = time.perf_counter()
        for worker in workers:
            worker.start()
        stop.wait(seconds)
        stop.set()
        for worker in workers:
            worker.join()
        elapsed_s = time.perf_counter() - started_s
    if region.failure is not None:
        raise region.failure
    return sum(counts) / elapsed_s


def fdatasync_rate(directory: Path, seconds: float) -> float:
    """Flushes per second of one block of 4 KiB that is written over in place, one thread."""
    _require(seconds)
    block = secrets.token_bytes(_FLUSHED_BYTES)
    with _zero_filled_file(directory, MIB) as (descriptor, size_bytes):
        flushes = 0
        started_s = time.perf_counter()
        while (elapsed_s := time.perf_counter() - started_s) < seconds:
            os.pwrite(descriptor, block, flushes * _FLUSHED_BYTES % size_bytes)
            os.fdatasync(descriptor)
            flushes += 1
    return flushes / elapsed_s


def disk_write_rate(directory: Path, seconds: float) -> float:
    """MB/s of a new file written in blocks of 1 MiB and flushed once at the end.

    Ends after `seconds` or DISK_WRITE_BYTES_MAX, whichever comes first; the flush is counted.
    """
    _require(seconds)
    block = secrets.token_bytes(_BLOCK_BYTES)
    written = 0
    with _file(directory) as descriptor:
        started_s = time.perf_counter()
        while written < DISK_WRITE_BYTES_MAX and time.perf_counter() - started_s < seconds:
            written += os.write(descriptor, block)
        os.fdatasync(descriptor)
        elapsed_s = time.perf_counter() - started_s
    return written / 1e6 / elapsed_s


def loopback_copy_rate(seconds: float) -> float:
    """MB/s through one TCP connection of loopback, from another process into one buffer.

    Nothing is done with the bytes: no receiver on this machine takes in more by one connection.
    """
    _require(seconds)
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    with (
        tempfile.TemporaryDirectory(prefix="hilum-loopback-") as scratch,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.settimeout(_CONNECT_WITHIN_S)
        command = [sys.executable, "-m", _SOURCE, "--port", str(listener.getsockname()[1])]
        with (
            own_process("loopback-source", command, Path(scratch)),
            closing(_accept(listener)) as c,
        ):
            c.recv_into(buffer)  # the other process has come to its loop
            received = 0
            started_s = time.perf_counter()
            while (elapsed_s := time.perf_counter() - started_s) < seconds:
                got = c.recv_into(buffer)
                if not got:
                    raise FatalError("the source of bytes ended early", "measure again")
                received += got
    return received / 1e6 / elapsed_s


class Region:
    """A zero-filled file that is written over in turn, with one flush for all that wait.

    After a write or flush that failed, `failure` says why and nothing more is written.
    """

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._place = 0
        self._queued = 0
        self._flushed = 0
        self._is_leading = False
        self.failure: OSError | None = None

    def append(self, record: bytes) -> None:
        """On return the record is flushed, or `failure` says why not.

        The first that finds nobody at work writes and flushes for all that came by then: no
        thread has to be woken for a lone writer.
        """
        with self._changed:
            self._waiting.append(record)
            self._queued += 1
            ticket = self._queued
            while self._flushed < ticket and self.failure is None:
                if self._is_leading:
                    self._changed.wait()
                    continue
                batch, self._waiting = self._waiting, []
                self._is_leading = True
                self._changed.release()
                failure = None
                try:
                    self._write(batch)
                except OSError as error:
                    failure = error
                finally:
                    self._changed.acquire()
                self._is_leading = False
                self._flushed += len(batch)
                self.failure = failure or self.failure
                self._changed.notify_all()

    def _write(self, batch: list[bytes]) -> None:
        size_bytes = sum(len(record) for record in batch)
        if self._place + size_bytes > self._size_bytes:
            self._place = 0
        written = os.pwritev(self._descriptor, batch, self._place)
        if written != size_bytes:
            raise OSError(f"writing {size_bytes} bytes: {written} were taken")
        os.fdatasync(self._descriptor)
        self._place += size_bytes


@contextmanager
def _zero_filled_file(directory: Path, size_bytes: int) -> Iterator[tuple[int, int]]:
    zeros = bytes(_BLOCK_BYTES)
    with _file(directory) as descriptor:
        for _ in range(-(-size_bytes // _BLOCK_BYTES)):
            os.write(descriptor, zeros)
        os.fsync(descriptor)
        yield descriptor, size_bytes


@contextmanager
def _file(directory: Path) -> Iterator[int]:
    """A new file without a name when the block ends, whatever happened."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="limit-", dir=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        Path(name).unlink()


def _accept(listener: socket.socket) -> socket.socket:
    try:
        connection, _ = listener.accept()
    except TimeoutError as cause:
        raise FatalError(
            f"the source of bytes did not connect within {_CONNECT_WITHIN_S:.0f} s",
            "measure again when the machine is less busy",
        ) from cause
    connection.settimeout(_CONNECT_WITHIN_S)
    return connection


def _require(seconds: float, threads: int = 1) -> None:
    if not 0 < seconds <= SECONDS_MAX or not 1 <= threads <= THREADS_MAX:
        raise FatalError(
            f"a limit measured for {seconds} s with {threads} threads is out of bounds",
            f"up to {SECONDS_MAX:.0f} s and {THREADS_MAX} threads",
        )
