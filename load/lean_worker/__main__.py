"""`python -m load.lean_worker`: reads a job, associates, says so, waits for the start, sends.

Invariant: nothing is encoded, connected or allocated between the start and the last response
that could have been before or after it.
"""

from __future__ import annotations

import gc
import resource
import sys
from functools import partial
from typing import BinaryIO

from load.lean_worker.job import READY, Answers, decode_job, encode_answers
from load.lean_worker.sending import Sending

START_BYTES = 8


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Serves one job: job in, READY out, start time in (ns of the monotonic clock), answers out."""
    read = partial(_read_exactly, source)
    sending = Sending(decode_job(read))
    sending.associate()
    sink.write(READY)
    sink.flush()
    start_ns = int.from_bytes(read(START_BYTES), "little")
    # A collection in the middle is a latency that no peer caused.
    gc.collect()
    gc.freeze()
    gc.disable()
    before = _cpu_s()
    sending.run(start_ns)
    cpu_s = _cpu_s() - before
    sending.release()
    answers = Answers(
        cpu_s=cpu_s,
        associations=sending.opened,
        window=sending.window,
        problems=sending.ledger.problems,
        association_problems=dict(sending.association_problems),
        records=sending.ledger.records(),
    )
    sink.write(encode_answers(answers))
    sink.flush()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _read_exactly(source: BinaryIO, size_bytes: int) -> bytes:
    data = source.read(size_bytes)
    if len(data) != size_bytes:
        raise SystemExit("the parent has gone")
    return data


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
