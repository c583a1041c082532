"""`hilum send`: files to a gateway as a modality would send them, counted by status.

Invariant: what is sent is the bytes as they stand in the file; what got no answer is sent again,
and every file ends as a status or as a named problem.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from contracts.failures import FatalError
from edge_gateway.outgoing import FileProblem, OutgoingInstance, read_outgoing
from edge_gateway.scu import Peer, SendResult, StoreScu, TlsClient, client_context
from operations.answers import progress_out
from operations.context import Context
from operations.inputs import InputProblem, collect
from operations.synthetic import CtStudy

PROBLEMS_LISTED_MAX = 100
_REMOTE = re.compile(r"(?P<aet>[^@]{1,16})@(?P<host>[^:]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What to send where; `sample_slices` > 0 adds a synthetic study made from `seed`.

    `tls`: the files for a peer that speaks TLS, None for plain text.
    """

    paths: tuple[Path, ...]
    to: str
    calling_ae_title: str
    sample_slices: int = 0
    seed: int = 1
    tls: TlsClient | None = None


@dataclass(frozen=True, slots=True)
class SendReport:
    """The keys of `hilum send --json`. `statuses` counts C-STORE responses, by hex status.

    `warnings` name what was sent as it is and is not whole; they do not make the answer bad.
    """

    ok: bool
    to: str
    sent: int
    acknowledged: int
    statuses: dict[str, int]
    unanswered: int
    resent: int
    bytes_sent: int
    seconds: float
    study_instance_uids: tuple[str, ...]
    problems: tuple[InputProblem, ...]
    warnings: tuple[InputProblem, ...]


def tls_client(
    is_wanted: bool, ca: Path | None, certificate: Path | None, key: Path | None
) -> TlsClient | None:
    """The TLS files of the options; any of them means TLS. Raises FatalError where one lacks."""
    if (certificate is None) != (key is None):
        raise FatalError("a certificate and its key belong together", "give --cert and --key")
    if not is_wanted and ca is None and certificate is None:
        return None
    return TlsClient(ca, certificate, key)


def send(context: Context, request: SendRequest) -> SendReport:
    """Sends everything that can be sent. Raises FatalError (unknown gateway, nothing named)."""
    peer = _peer(context, request)
    with tempfile.TemporaryDirectory(prefix="hilum-send-") as scratch:
        instances, problems = _gather(request, Path(scratch))
        if not instances and not problems:
            raise FatalError("nothing to send", "name files or folders that hold DICOM")
        return _send_all(peer, request, instances, problems)


def _peer(context: Context, request: SendRequest) -> Peer:
    remote = _REMOTE.fullmatch(request.to)
    if remote:
        host, port, called = remote["host"], int(remote["port"]), remote["aet"]
    else:
        gateway = context.settings().gateway(request.to)
        host, port, called = gateway.bind, gateway.dicom_port, gateway.ae_title
        if gateway.tls is not None and request.tls is None:
            raise FatalError(
                f"gateway {request.to} speaks TLS", "give --ca, and --cert with --key where it asks"
            )
    return Peer(
        host=host,
        port=port,
        called_ae_title=called,
        calling_ae_title=request.calling_ae_title,
        tls=None if request.tls is None else client_context(request.tls),
    )


def _gather(
    request: SendRequest, scratch: Path
) -> tuple[list[OutgoingInstance], list[InputProblem]]:
    instances: list[OutgoingInstance] = []
    problems: list[InputProblem] = []
    paths = list(request.paths)
    if request.sample_slices:
        CtStudy(request.sample_slices, seed=request.seed).write(scratch / "sample")
        paths.append(scratch / "sample")
    with _progress() as progress:
        task = progress.add_task("reading", total=None)
        for found in collect(paths, scratch):
            progress.advance(task)
            if isinstance(found, InputProblem):
                problems.append(found)
                continue
            read = read_outgoing(found.path)
            if isinstance(read, FileProblem):
                problems.append(InputProblem(found.name, f"{read.kind.value}: {read.detail}"))
            else:
                instances.append(read)
    return instances, problems


def _send_all(
    peer: Peer,
    request: SendRequest,
    instances: Sequence[OutgoingInstance],
    problems: list[InputProblem],
) -> SendReport:
    studies: dict[str, None] = {}
    with _progress() as progress:
        task = progress.add_task(f"to {request.to}", total=len(instances))

        def on_result(result: SendResult) -> None:
            progress.advance(task)
            if result.is_stored:
                studies.setdefault(result.instance.study_instance_uid)
            else:
                name = str(result.instance.path)
                answer = result.problem or f"{result.status:04X} {result.comment}"
                problems.append(InputProblem(name, answer.strip()))

        summary = StoreScu().send(instances, peer, on_result)
    return SendReport(
        ok=bool(instances) and not problems and summary.is_complete,
        to=request.to,
        sent=len(instances),
        acknowledged=summary.stored,
        statuses={f"{status:04X}": count for status, count in sorted(summary.statuses.items())},
        unanswered=summary.unanswered,
        resent=summary.resent,
        bytes_sent=summary.size_bytes,
        seconds=round(summary.elapsed_s, 3),
        study_instance_uids=tuple(study for study in studies if study),
        problems=tuple(problems[:PROBLEMS_LISTED_MAX]),
        warnings=tuple(
            InputProblem(str(instance.path), instance.warning)
            for instance in instances
            if instance.warning
        )[:PROBLEMS_LISTED_MAX],
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=progress_out,
        transient=True,
    )
