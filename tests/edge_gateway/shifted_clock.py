"""`python -m edge_gateway` on a machine whose wall clock is off: `… SECONDS receive|forward …`.

Invariant: only what people read is shifted; the monotonic clock is the machine's own, as it is
where somebody sets the clock.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from edge_gateway.__main__ import main
from infra.clock import SystemClock


def shift(seconds: float) -> None:
    """From now on every `SystemClock` of this process is off by so much."""

    def now(_clock: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    SystemClock.now = now  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
