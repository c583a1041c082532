"""What is to be sent, what became of each instance, and a run as a whole.

Invariant: every planned instance that was tried has exactly one outcome, and what a run says is
computed from its outcomes alone. Must not know how anything is sent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from hdrh.histogram import HdrHistogram

from load.report.model import Failure
from load.senders.latency import latency_histogram
from load.studies import Identity, Template

PROCESSES_MAX = 64
ASSOCIATIONS_MAX = 1024
PLANNED_MAX = 500_000
# The operations invoked of PS3.7 D.3.3.3 are two bytes; beyond this a window measures nothing.
WINDOW_MAX = 256
_EXAMPLES_MAX = 10_000
_SUCCESS = 0x0000
StockProgram: TypeAlias = Literal["storescu", "dcmsend"]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str = "HILUM-LOAD"


@dataclass(frozen=True, slots=True)
class Planned:
    """One instance to send. `due_s`: seconds after the start (open loop), None: when there is
    room (closed loop)."""

    template: Template
    identity: Identity
    due_s: float | None = None


@dataclass(frozen=True, slots=True)
class LeanOptions:
    """How the lean sender sends. `associations` are of each process.

    `window` is offered (PS3.7 D.3.3.3); what the peer negotiates is used, 1 where it is silent.
    `seconds_max` bounds the sending; with `is_time_box` its end is the plan and what was not
    sent by then is no failure. A lost association is opened again `reconnects_max` times.
    """

    processes: int = 1
    associations: int = 1
    window: int = 1
    seconds_max: float = 600.0
    is_time_box: bool = False
    pdu_bytes: int = 256 * 1024
    association_timeout_s: float = 10.0
    response_timeout_s: float = 60.0
    reconnects_max: int = 3


@dataclass(frozen=True, slots=True)
class StockOptions:
    """How DCMTK's senders are run: one process an association, files split evenly.

    `kind` is what the outcomes are called; `seconds_max` ends processes that take longer.
    """

    program: StockProgram = "storescu"
    associations: int = 4
    seconds_max: float = 600.0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance. Times of day are seconds since the epoch.

    `sent_at` is when the first byte was handed to the kernel (or, where nothing was sent, when
    it was given up); `answered_at` and `status` are None without a response, and `problem` then
    says why: "refused", "rejected 2/3/1", "aborted 2/0", "lost", "timed out", …
    """

    sop_instance_uid: str
    kind: str
    size_bytes: int
    due_at: float | None
    sent_at: float
    answered_at: float | None
    status: int | None
    problem: str

    @property
    def is_acknowledged(self) -> bool:
        """Whether the peer says it has stored it: success, or a warning (PS3.4 B.2.3)."""
        return self.status == _SUCCESS or self.is_warned

    @property
    def is_warned(self) -> bool:
        """Stored, with a warning (B0xx)."""
        return self.status is not None and self.status & 0xFF00 == 0xB000

    @property
    def latency_us(self) -> int | None:
        """From the first byte sent to the response, microseconds."""
        return None if self.answered_at is None else round((self.answered_at - self.sent_at) * 1e6)

    @property
    def latency_from_due_us(self) -> int | None:
        """From when it was due: what a modality waits when the sender runs behind its rate
        (coordinated omission). As `latency_us` in a closed loop."""
        if self.answered_at is None or self.due_at is None:
            return self.latency_us
        return round((self.answered_at - self.due_at) * 1e6)


@dataclass(frozen=True)
class SendRun:
    """A run as measured. `seconds`: first byte to last answer, `cpu_s`: of all sender processes
    in that time, `associations`: opened, `window`: the least that was negotiated.

    `association_problems` counts what associations met, retries included; `not_sent` counts what
    a time box left over.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float
    cpu_s: float
    processes: int
    associations: int
    window: int = 1
    target: str = ""
    not_sent: int = 0
    association_problems: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def acknowledged(self) -> int:
        """Instances that the peer says it has stored; `warned` of them with a warning."""
        return sum(outcome.is_acknowledged for outcome in self.outcomes)

    @cached_property
    def warned(self) -> int:
        """Instances stored with a warning (B0xx)."""
        return sum(outcome.is_warned for outcome in self.outcomes)

    @cached_property
    def bytes_acknowledged(self) -> int:
        """Bytes of data sets of what was acknowledged."""
        return sum(one.size_bytes for one in self.outcomes if one.is_acknowledged)

    @property
    def rate(self) -> float:
        """Instances acknowledged per second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    @property
    def megabytes_per_s(self) -> float:
        """Megabytes (10^6) of data sets acknowledged per second."""
        return self.bytes_acknowledged / self.seconds / 1e6 if self.seconds else 0.0

    @property
    def sender_share(self) -> float:
        """Share of the cores it could have used that the sender did use: near 1, the sender and
        not the receiver was measured."""
        cores = min(self.processes, os.cpu_count() or 1)
        return self.cpu_s / (self.seconds * cores) if self.seconds and cores else 0.0

    @cached_property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        return Counter(one.status for one in self.outcomes if one.status is not None)

    @cached_property
    def problems(self) -> Counter[str]:
        """How often each problem left an instance without a response."""
        return Counter(one.problem for one in self.outcomes if one.problem)

    def failures(self) -> tuple[Failure, ...]:
        """What went wrong, by name, with the instances. A warning is none."""
        by_what: dict[str, list[str]] = {}
        for one in self.outcomes:
            if not one.is_acknowledged:
                by_what.setdefault(_what(one), []).append(one.sop_instance_uid)
        instances = (
            Failure(self.target, what, len(uids), tuple(uids[:_EXAMPLES_MAX]))
            for what, uids in sorted(by_what.items())
        )
        associations = (
            Failure(self.target, f"association {problem}", count)
            for problem, count in sorted(self.association_problems.items())
        )
        return (*instances, *associations)

    @cached_property
    def latency(self) -> HdrHistogram:
        """Microseconds from the first byte sent to the response."""
        return latency_histogram(_present(one.latency_us for one in self.outcomes))

    @cached_property
    def latency_from_due(self) -> HdrHistogram:
        """Microseconds from when each was due to the response (open loop)."""
        return latency_histogram(_present(one.latency_from_due_us for one in self.outcomes))


def _what(outcome: Outcome) -> str:
    return outcome.problem or f"C-STORE answered {outcome.status:04X}"


def _present(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
