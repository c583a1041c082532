"""What `hilum load hostile` is asked for.

Invariant: validated once, here; with these values a run has an end that can be named beforehand.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from contracts.failures import FatalError
from load.hostile.catalogue import chosen
from load.hostile.peer import HostilePeer
from load.receivers import RECEIVERS, Receiver
from load.senders import CEILING_S

# Thirty peers with ten samples each, and what is between them, in less than 5 minutes.
QUICK_SAMPLE_S, FULL_SAMPLE_S = 0.35, 2.0
SAMPLE_S_MIN, SAMPLE_S_MAX = 0.05, 5.0
PAIRS_MIN, PAIRS_MAX = 1, 20
SEED_MAX = 10**8 - 1


@dataclass(frozen=True, slots=True)
class HostileOptions:
    """`peers`: keys H1 to H30, all when empty. `seconds`: of one sample, two make a pair.

    `scratch`: where the receivers store (None: the system's temporary directory). The sender
    alone is measured for `ceiling_s` first.
    Raises FatalError when a value is out of its bounds or a name unknown.
    """

    peers: tuple[str, ...] = ()
    seconds: float = QUICK_SAMPLE_S
    seed: int = 1
    receivers: tuple[str, ...] = ("hilum",)
    pairs: int = 5
    scratch: Path | None = None
    ceiling_s: float = CEILING_S

    def __post_init__(self) -> None:
        _within("seconds", self.seconds, SAMPLE_S_MIN, SAMPLE_S_MAX)
        _within("pairs", self.pairs, PAIRS_MIN, PAIRS_MAX)
        _within("seed", self.seed, 0, SEED_MAX)
        self.chosen_peers()
        self.chosen_receivers()

    def chosen_peers(self) -> tuple[HostilePeer, ...]:
        """The peers in the list's order."""
        return chosen(self.peers)

    def chosen_receivers(self) -> tuple[Receiver, ...]:
        """The receivers as asked for."""
        for key in self.receivers:
            if key not in RECEIVERS:
                near = difflib.get_close_matches(key, RECEIVERS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RECEIVERS)}"
                raise FatalError(f"{key!r} is no receiver", hint)
        return tuple(RECEIVERS[key] for key in self.receivers)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise FatalError(f"{name} is {value:g}", f"give {low:g} to {high:g}")
