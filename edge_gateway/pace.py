"""How long a forwarder gathers before it sends, and how often it asks for what the centre says.

Invariant: where an association waits for a level that this process confirms, nothing gathers
longer than the acknowledgement takes anyway. Must not decide what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.broker import LINGER_MS
from infra.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Pace:
    """`linger_ms`: of a producer's batch. `poll_s`: of one topic, in its turn."""

    linger_ms: int
    poll_s: float


WAITED_FOR = Pace(LINGER_MS, 0.05)
# Fewer and larger requests; and a poll for nothing is 1 ms of CPU, most of what an idle forwarder
# takes.
IN_NO_HURRY = Pace(10, 0.15)


def is_waited_for(gateway: GatewaySettings) -> bool:
    """Whether a rule asks for a level that the forward process confirms."""
    return any(rule.level in ("kafka", "archive") for rule in gateway.admit)


def pace_of(gateway: GatewaySettings) -> Pace:
    """The pace that the gateway's rules leave."""
    return WAITED_FOR if is_waited_for(gateway) else IN_NO_HURRY
