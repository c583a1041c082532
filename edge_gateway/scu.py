"""Our SCU side: sends instances to a peer as the bytes they are, and says what became of each.

Invariant: every instance given gets exactly one result; what got no answer is sent again a
bounded number of times (a duplicate is normal, a lost one is not). Must not decode a data set.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from edge_gateway import status
from edge_gateway.association.connection import ConnectionLost, DeadlinePassed
from edge_gateway.association.contexts import VERIFICATION
from edge_gateway.association.limits import CONTEXTS_MAX, AssociationLimits
from edge_gateway.association.negotiation import Peer
from edge_gateway.association.pdu import IMPLICIT_VR_LITTLE_ENDIAN, ProtocolError
from edge_gateway.association.requestor import AssociationRejected, Requestor
from edge_gateway.association.tls import TlsClient, client_context
from edge_gateway.outgoing import OutgoingInstance

__all__ = [
    "CONTEXT_NOT_TAKEN",
    "AssociationRejected",
    "OutgoingInstance",
    "Peer",
    "ScuLimits",
    "SendResult",
    "SendSummary",
    "StoreScu",
    "TlsClient",
    "client_context",
    "echo",
]

# The one problem that no other attempt at this peer will change.
CONTEXT_NOT_TAKEN = "peer does not take this SOP class with this transfer syntax"
_BROKEN = (ConnectionLost, DeadlinePassed, ProtocolError)


@dataclass(frozen=True, slots=True)
class ScuLimits:
    """How patient we are. `answer_timeout_s` counts from the last byte sent to the response."""

    # Contexts are planned over this many instances at a time, so a sender may be endless.
    window_instances: int = 2_000
    tries_max: int = 3
    retry_delay_s: float = 0.5
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 120.0
    pdu_bytes_max: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one instance. `status` is None where it got no answer: then `problem` says.

    `sha256` (lowercase hex, '' where unanswered) covers the data set's bytes as sent;
    `elapsed_ms` is from the first byte to the response.
    """

    instance: OutgoingInstance
    status: int | None
    comment: str
    sha256: str
    elapsed_ms: float
    tries: int
    problem: str

    @property
    def is_stored(self) -> bool:
        """Whether the peer has taken it."""
        return self.status is not None and status.is_stored(self.status)


@dataclass(slots=True)
class SendSummary:
    """The counts of one `send`. `size_bytes` is of the instances the peer has taken."""

    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    stored: int = 0
    size_bytes: int = 0
    associations: int = 0
    resent: int = 0
    elapsed_s: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the peer has taken every instance."""
        return not self.unanswered and self.stored == self.statuses.total()

    def add(self, result: SendResult) -> None:
        """Counts one result."""
        self.resent += max(0, result.tries - 1)
        if result.status is None:
            self.unanswered += 1
            return
        self.statuses[result.status] += 1
        if result.is_stored:
            self.stored += 1
            self.size_bytes += result.instance.size_bytes


@dataclass(slots=True)
class _Job:
    instance: OutgoingInstance
    tries: int = 0

    @property
    def context(self) -> tuple[str, str]:
        return self.instance.sop_class_uid, self.instance.transfer_syntax_uid


class StoreScu:
    """Sends over one association at a time, one instance at a time, in the order given."""

    def __init__(self, limits: ScuLimits | None = None) -> None:
        self._limits = limits or ScuLimits()
        self._association_limits = AssociationLimits(
            pdu_bytes_max=self._limits.pdu_bytes_max,
            request_timeout_s=self._limits.connect_timeout_s,
            idle_timeout_s=self._limits.answer_timeout_s,
        )

    def send(
        self,
        instances: Iterable[OutgoingInstance],
        peer: Peer,
        on_result: Callable[[SendResult], None] = lambda result: None,
    ) -> SendSummary:
        """Sends each instance; on return every one had its result. Never raises for the peer.

        A peer that cannot be reached or rejects us gives results with `problem`; a transient
        reject (2/3/x) and a lost association are tried again first.
        """
        started_s = time.monotonic()
        summary = SendSummary()

        def report(result: SendResult) -> None:
            summary.add(result)
            on_result(result)

        source = iter(instances)
        while window := list(itertools.islice(source, self._limits.window_instances)):
            for jobs in plan_associations(window):
                self._send_all(jobs, peer, summary, report)
        summary.elapsed_s = time.monotonic() - started_s
        return summary

    def _send_all(
        self,
        jobs: list[_Job],
        peer: Peer,
        summary: SendSummary,
        report: Callable[[SendResult], None],
    ) -> None:
        while jobs:
            requestor = self._open(jobs, peer)
            if isinstance(requestor, str):
                _give_up(jobs, requestor, report)
                return
            summary.associations += 1
            try:
                self._store_each(requestor, jobs, report)
            except _BROKEN as failure:
                # The one at the head was under way: it alone used up a try.
                jobs[0].tries += 1
                if jobs[0].tries >= self._limits.tries_max:
                    _give_up([jobs.pop(0)], str(failure), report)
                else:
                    time.sleep(self._limits.retry_delay_s * jobs[0].tries)
            except (EOFError, OSError) as fault:
                _give_up([jobs.pop(0)], f"reading the file: {fault}", report)

    def _open(self, jobs: list[_Job], peer: Peer) -> Requestor | str:
        """An association for the contexts of these jobs, or why there is none after all tries."""
        contexts = list(dict.fromkeys(job.context for job in jobs))
        problem = ""
        for attempt in range(1, self._limits.tries_max + 1):
            try:
                return Requestor.open(peer, contexts, self._association_limits)
            except AssociationRejected as rejected:
                problem = str(rejected)
                if not rejected.is_transient:
                    break
            except _BROKEN as failure:
                problem = str(failure)
            if attempt < self._limits.tries_max:
                time.sleep(self._limits.retry_delay_s * attempt)
        return problem

    def _store_each(
        self, requestor: Requestor, jobs: list[_Job], report: Callable[[SendResult], None]
    ) -> None:
        # Released only at the end of all: a fault in between leaves a message half sent.
        with contextlib.ExitStack() as on_fault:
            on_fault.callback(requestor.abort)
            while jobs:
                result = self._store(requestor, jobs[0])
                jobs.pop(0)
                report(result)
            on_fault.pop_all()
        requestor.release()

    def _store(self, requestor: Requestor, job: _Job) -> SendResult:
        instance = job.instance
        if not requestor.accepts(*job.context):
            return _unanswered(job, CONTEXT_NOT_TAKEN)
        started_s = time.monotonic()
        with instance.path.open("rb") as file:
            file.seek(instance.offset_bytes)
            response, sha256 = requestor.store(
                (instance.sop_class_uid, instance.sop_instance_uid),
                instance.transfer_syntax_uid,
                file,
                instance.size_bytes,
            )
        return SendResult(
            instance=instance,
            status=response.status,
            comment=response.comment,
            sha256=sha256,
            elapsed_ms=(time.monotonic() - started_s) * 1000,
            tries=job.tries + 1,
            problem="",
        )


def echo(peer: Peer, timeout_s: float = 10.0) -> int:
    """The status of a C-ECHO over an association of its own.

    Raises AssociationRejected, ConnectionLost, DeadlinePassed (a TimeoutError), ProtocolError.
    """
    limits = AssociationLimits(request_timeout_s=timeout_s, idle_timeout_s=timeout_s)
    context = (VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
    with Requestor.open(peer, [context], limits) as requestor:
        return requestor.echo().status


def plan_associations(instances: Iterable[OutgoingInstance]) -> Iterator[list[_Job]]:
    """The instances in as few associations as their contexts allow (128 each, PS3.8 9.3.2.2)."""
    by_context: dict[tuple[str, str], list[_Job]] = {}
    order: dict[int, int] = {}
    for position, instance in enumerate(instances):
        job = _Job(instance)
        by_context.setdefault(job.context, []).append(job)
        order[id(job)] = position
    groups = iter(by_context.values())
    while group := list(itertools.islice(groups, CONTEXTS_MAX)):
        jobs = [job for jobs in group for job in jobs]
        yield sorted(jobs, key=lambda job: order[id(job)])


def _give_up(jobs: list[_Job], problem: str, report: Callable[[SendResult], None]) -> None:
    while jobs:
        report(_unanswered(jobs.pop(0), problem))


def _unanswered(job: _Job, problem: str) -> SendResult:
    return SendResult(
        instance=job.instance,
        status=None,
        comment="",
        sha256="",
        elapsed_ms=0.0,
        tries=max(1, job.tries),
        problem=problem,
    )
