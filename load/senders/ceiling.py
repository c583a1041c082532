"""What the lean sender itself can do: its rate against a receiver that drops everything.

Invariant: the same plan and the same options as of the measurement beside which it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

from load.senders.lean import send_lean
from load.senders.model import LeanOptions, Planned, SendRun
from load.senders.null_receiver import running_null_receiver


def ceiling(planned: Sequence[Planned], options: LeanOptions) -> float:
    """Instances per second of the lean sender alone; see `ceiling_run` for the whole run."""
    return ceiling_run(planned, options).rate


def ceiling_run(planned: Sequence[Planned], options: LeanOptions) -> SendRun:
    """The plan as fast as it goes (due times left out) against the null receiver.

    The receiver takes a core of its own: where there is none to spare, the ceiling holds with it.
    """
    unpaced = [Planned(one.template, one.identity) for one in planned]
    with running_null_receiver(window=options.window, pdu_bytes=options.pdu_bytes) as receiver:
        return send_lean(receiver.target, unpaced, options)
