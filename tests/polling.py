"""Waiting for what comes in its own time, on machines that are busy with other things.

Invariant: returns only once the condition itself was seen to hold; never sleeps instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from contracts.failures import RetryableError

T = TypeVar("T")

# A passing test never waits so long; a machine that does five things at once may.
WITHIN_S = 120.0
_POLL_S = 0.05


def eventually(condition: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """Returns once the condition holds; fails with `what` after the deadline.

    An engine that is too busy to answer (RetryableError) is asked again.
    """
    until = time.monotonic() + within_s
    while True:
        reason = ""
        try:
            if condition():
                return
        except RetryableError as cause:
            reason = f": {cause}"
        assert time.monotonic() < until, f"not within {within_s:.0f} s: {what}{reason}"
        time.sleep(_POLL_S)


def succeeded(work: Callable[[], T], what: str, within_s: float = WITHIN_S) -> T:
    """The result of `work`, which is repeated while an engine is too busy for it."""
    results: list[T] = []

    def is_done() -> bool:
        results.append(work())
        return True

    eventually(is_done, what, within_s)
    return results[0]


@contextmanager
def repeatedly(work: Callable[[], object], every_s: float) -> Iterator[None]:
    """Does it again and again, on a thread of its own, for the length of a block."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(every_s):
            work()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(WITHIN_S)
