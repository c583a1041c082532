"""`hilum send`: files to a gateway as a modality would send them, counted by status.

Invariant: what is sent is the bytes as they stand in the file; what got no answer is sent again,
and every file ends as a status or as a named problem.
"""

from __future__ import annotations

import re
import tempfile
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
from edge_gateway.scu import Peer, SendResult, StoreScu, TlsClient, client_context
from operations.answers import progress_out
from operations.context import Context
from operations.gather import Gathered, gather
from operations.inputs import End, InputProblem, collect
from operations.synthetic import CtStudy

PROBLEMS_LISTED_MAX = 100
_REMOTE = re.compile(r"(?P<aet>[^@]{1,16})@(?P<host>[^:]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What to send where; `sample_slices` > 0 adds a synthetic study made from `seed`.

    `tls`: the files for a peer that speaks TLS, None for plain text. `quarantine`: where a file
    that is something else beside DICOM is copied before its data set is sent.
    """

    paths: tuple[Path, ...]
    to: str
    calling_ae_title: str
    sample_slices: int = 0
    seed: int = 1
    tls: TlsClient | None = None
    quarantine: Path | None = None


@dataclass(frozen=True, slots=True)
class SendReport:
    """The keys of `hilum send --json`. `statuses` counts C-STORE responses, by hex status.

    `files` counts every file that was found, by its one end. `warnings` name what was sent as it
    is and is not whole, `findings` what is something else beside DICOM (only the data set was
    sent); neither makes the answer bad.
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
    files: dict[str, int]
    findings: tuple[InputProblem, ...]


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
    peer = peer_of(context, request)
    with tempfile.TemporaryDirectory(prefix="hilum-send-") as scratch:
        gathered = _gather(request, Path(scratch))
        if not gathered.instances and not gathered.ends:
            raise FatalError("nothing to send", "name files or folders that hold DICOM")
        return _send_all(peer, request, gathered)


def peer_of(context: Context, request: SendRequest) -> Peer:
    """Whom `request` names. Raises FatalError (unknown gateway, TLS wanted and not asked for)."""
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


def _gather(request: SendRequest, scratch: Path) -> Gathered:
    paths = list(request.paths)
    if request.sample_slices:
        CtStudy(request.sample_slices, seed=request.seed).write(scratch / "sample")
        paths.append(scratch / "sample")
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    with _progress() as progress:
        task = progress.add_task("reading", total=None)
        found = collect(paths, unpacked)
        return gather(found, request.quarantine, lambda: progress.advance(task))


def _send_all(peer: Peer, request: SendRequest, gathered: Gathered) -> SendReport:
    instances = gathered.instances
    studies: dict[str, None] = {}
    with _progress() as progress:
        task = progress.add_task(f"to {request.to}", total=len(instances))

        def on_result(result: SendResult) -> None:
            progress.advance(task)
            if result.is_stored:
                gathered.ends[End.SENT] += 1
                studies.setdefault(result.instance.study_instance_uid)
            else:
                name = gathered.names[result.instance.path]
                answer = result.problem or f"{result.status:04X} {result.comment}"
                end = End.UNANSWERED if result.status is None else End.REFUSED
                gathered.end(InputProblem(name, answer.strip(), end))

        summary = StoreScu().send(instances, peer, on_result)
    warnings = [
        InputProblem(gathered.names[one.path], one.warning, End.SENT)
        for one in instances
        if one.warning
    ]
    return SendReport(
        ok=bool(instances) and not gathered.problems and summary.is_complete,
        to=request.to,
        sent=len(instances),
        acknowledged=summary.stored,
        statuses={f"{status:04X}": count for status, count in sorted(summary.statuses.items())},
        unanswered=summary.unanswered,
        resent=summary.resent,
        bytes_sent=summary.size_bytes,
        seconds=round(summary.elapsed_s, 3),
        study_instance_uids=tuple(study for study in studies if study),
        problems=tuple(gathered.problems[:PROBLEMS_LISTED_MAX]),
        warnings=tuple(warnings[:PROBLEMS_LISTED_MAX]),
        files={end.value: count for end, count in sorted(gathered.ends.items())},
        findings=tuple(gathered.findings[:PROBLEMS_LISTED_MAX]),
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
