"""The lean sender: frames encoded before the clock starts, workers let go at one moment.

Invariant: whatever the peer does is an outcome; every planned instance has one (of a time box,
every one that was tried). Must not encode, connect or format anything while the clock runs.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.failures import FatalError
from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from load.lean_worker.frame import UID_CHARACTERS
from load.lean_worker.job import NOT_TRIED, RECORD, Answers, Job, JobTemplate, Settings, encode_job
from load.lean_worker.negotiation import CONTEXTS_MAX, Proposal, encode_request
from load.senders.model import (
    ASSOCIATIONS_MAX,
    PLANNED_MAX,
    PROCESSES_MAX,
    WINDOW_MAX,
    LeanOptions,
    Outcome,
    Planned,
    SendRun,
    Target,
)
from load.senders.worker_process import WorkerProcess
from load.studies import Template

_NS = 1_000_000_000
# All workers have read their start by then.
_START_LEAD_NS = _NS // 50
_ENCODING_TIMEOUT_S = 60.0
# Back-off between attempts to associate, and the release at the end.
_SLACK_S = 30.0


@dataclass(frozen=True, slots=True)
class _Clock:
    """Turns the monotonic clock of all processes of a machine into time of day."""

    offset_ns: int

    @classmethod
    def now(cls) -> _Clock:
        return cls(time.time_ns() - time.perf_counter_ns())

    def epoch_s(self, monotonic_ns: int) -> float:
        return (monotonic_ns + self.offset_ns) / _NS


@dataclass(frozen=True, slots=True)
class _Share:
    """What one worker has sent, and what it found."""

    planned: Sequence[Planned]
    answers: Answers


def send_lean(
    target: Target,
    planned: Sequence[Planned],
    options: LeanOptions,
    on_start: Callable[[], object] | None = None,
) -> SendRun:
    """Sends `planned` to `target`; on return every association is closed and every process gone.

    Instances are dealt to the processes in turn (by due time), and within a process go out on
    whichever association has room. `on_start` is called when all are associated and begin, for
    those who measure something beside the sending. Raises FatalError for a plan or options that
    cannot be carried out; never for what the peer does.
    """
    _check(planned, options)
    ordered = sorted(planned, key=lambda one: one.due_s or 0.0)
    shares = [ordered[first :: options.processes] for first in range(options.processes)]
    shares = [share for share in shares if share]
    jobs = [_job(target, share, options) for share in shares]
    with contextlib.ExitStack() as running:
        workers = [running.enter_context(WorkerProcess()) for _ in shares]
        for worker, job in zip(workers, jobs, strict=True):
            for piece in encode_job(job):
                worker.give(piece)
        del jobs
        for worker in workers:
            worker.wait_ready(_ready_timeout_s(options))
        clock = _Clock.now()
        start_ns = time.perf_counter_ns() + _START_LEAD_NS
        for worker in workers:
            worker.give(start_ns.to_bytes(8, "little"))
        if on_start is not None:
            on_start()
        answers = [worker.answers(_run_timeout_s(options)) for worker in workers]
    done = [_Share(share, answer) for share, answer in zip(shares, answers, strict=True)]
    return _send_run(target, done, clock, start_ns, options)


def _check(planned: Sequence[Planned], options: LeanOptions) -> None:
    limits = (
        ("instances", len(planned), PLANNED_MAX),
        ("processes", options.processes, PROCESSES_MAX),
        ("associations", options.associations, ASSOCIATIONS_MAX),
        ("window", options.window, WINDOW_MAX),
    )
    for name, value, most in limits:
        if not 1 <= value <= most:
            raise FatalError(f"planning a send: {name} is {value}", f"choose 1 to {most} of them")


def _job(target: Target, share: Sequence[Planned], options: LeanOptions) -> Job:
    templates = list({id(one.template): one.template for one in share}.values())
    number_of = {id(template): number for number, template in enumerate(templates)}
    contexts = list(dict.fromkeys(_context(template) for template in templates))
    if len(contexts) > CONTEXTS_MAX:
        raise FatalError(
            f"planning a send: {len(contexts)} presentation contexts",
            f"{CONTEXTS_MAX} fit into one association: send fewer kinds at a time",
        )
    job = Job(
        settings=_settings(target, options),
        associate_request=_request(target, contexts, options),
        templates=[_job_template(one, contexts.index(_context(one))) for one in templates],
    )
    for one in share:
        job.template_of.append(number_of[id(one.template)])
        job.due_ns.append(int((one.due_s or 0.0) * _NS))
        job.values.append(_values(one))
    return job


def _context(template: Template) -> tuple[str, str]:
    return template.sop_class_uid, template.transfer_syntax_uid


def _settings(target: Target, options: LeanOptions) -> Settings:
    return Settings(
        host=target.host,
        port=target.port,
        associations=options.associations,
        window=options.window,
        pdu_bytes=options.pdu_bytes,
        seconds_max=options.seconds_max,
        association_timeout_s=options.association_timeout_s,
        response_timeout_s=options.response_timeout_s,
        reconnects_max=options.reconnects_max,
    )


def _request(target: Target, contexts: Sequence[tuple[str, str]], options: LeanOptions) -> bytes:
    proposal = Proposal(
        called_ae_title=target.called_ae_title,
        calling_ae_title=target.calling_ae_title,
        contexts=contexts,
        pdu_bytes_max=options.pdu_bytes,
        window=options.window,
        implementation=(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
    )
    try:
        return encode_request(proposal)
    except ValueError as cause:
        raise FatalError(f"planning a send: {cause}", "choose another AE title") from cause


def _job_template(template: Template, context: int) -> JobTemplate:
    return JobTemplate(
        sop_class_uid=template.sop_class_uid,
        context_id=2 * context + 1,
        places=tuple((offset, length) for _, offset, length in template.places),
        data_set=template.data_set,
    )


def _values(one: Planned) -> bytes:
    """The UID of the command set, then every place of the template in order."""
    uid = one.identity.sop_instance_uid.encode("ascii")
    assert len(uid) == UID_CHARACTERS, "identities are of one width"
    places = (one.identity.value(place) for place, _, _ in one.template.places)
    return b"".join((uid, b"\0", *places))


def _ready_timeout_s(options: LeanOptions) -> float:
    attempts = options.reconnects_max + 1
    return _ENCODING_TIMEOUT_S + _SLACK_S + attempts * (options.association_timeout_s + 2)


def _run_timeout_s(options: LeanOptions) -> float:
    return options.seconds_max + options.response_timeout_s + _SLACK_S


def _send_run(
    target: Target, shares: Sequence[_Share], clock: _Clock, start_ns: int, options: LeanOptions
) -> SendRun:
    outcomes: list[Outcome] = []
    association_problems: Counter[str] = Counter()
    first_ns, last_ns, not_sent = 0, 0, 0
    for share in shares:
        association_problems.update(share.answers.association_problems)
        problems = share.answers.problems
        records = RECORD.iter_unpack(share.answers.records)
        for one, record in zip(share.planned, records, strict=True):
            sent_ns, ended_ns, _, problem, was_sent = record
            if was_sent:
                first_ns = min(first_ns or sent_ns, sent_ns)
                last_ns = max(last_ns, ended_ns)
            elif options.is_time_box and problems[problem] == NOT_TRIED:
                not_sent += 1
                continue
            outcomes.append(_outcome(one, record, problems[problem], (clock, start_ns)))
    return SendRun(
        outcomes=tuple(outcomes),
        seconds=(last_ns - first_ns) / _NS,
        cpu_s=sum(share.answers.cpu_s for share in shares),
        processes=len(shares),
        associations=sum(share.answers.associations for share in shares),
        window=min((share.answers.window for share in shares if share.answers.window), default=1),
        target=f"{target.called_ae_title} at {target.host}:{target.port}",
        not_sent=not_sent,
        association_problems=dict(association_problems),
    )


def _outcome(
    one: Planned, record: tuple[int, int, int, int, int], problem: str, start: tuple[_Clock, int]
) -> Outcome:
    sent_ns, ended_ns, status, _, _ = record
    clock, start_ns = start
    due_ns = None if one.due_s is None else start_ns + int(one.due_s * _NS)
    return Outcome(
        sop_instance_uid=one.identity.sop_instance_uid,
        kind=one.template.kind,
        size_bytes=len(one.template.data_set),
        due_at=None if due_ns is None else clock.epoch_s(due_ns),
        sent_at=clock.epoch_s(sent_ns),
        answered_at=clock.epoch_s(ended_ns) if status >= 0 else None,
        status=status if status >= 0 else None,
        problem=problem,
    )
