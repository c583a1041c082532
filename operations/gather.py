"""From what was named to what can be sent, each file with one end or one instance.

Invariant: every file that was found is counted once. A file that is something else beside DICOM
is a finding by name, and where a quarantine is given it is not sent before a copy lies there.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_gateway.outgoing import FileProblem, OutgoingInstance, read_outgoing
from operations.answers import plain_text
from operations.inputs import GOOD, End, Found, InputFile, InputProblem

# Of the original name in the copy's, which has a digest too.
NAME_BYTES_MAX = 100
_READ_ONLY = 0o400


@dataclass(slots=True)
class Gathered:
    """Instances to send, `names` of their paths for people, and what ended before."""

    instances: list[OutgoingInstance] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)
    ends: Counter[End] = field(default_factory=Counter)
    problems: list[InputProblem] = field(default_factory=list)
    findings: list[InputProblem] = field(default_factory=list)

    def end(self, found: InputProblem) -> None:
        """Counts a file that is not sent, or was not taken."""
        self.ends[found.end] += 1
        if found.end not in GOOD:
            self.problems.append(found)


def gather(found: Iterable[Found], quarantine: Path | None, step: Callable[[], object]) -> Gathered:
    """Reads the start of each file; `step` is called after each."""
    gathered = Gathered()
    for one in found:
        if isinstance(one, InputProblem):
            gathered.end(InputProblem(plain_text(one.name), plain_text(one.reason), one.end))
        else:
            _take(InputFile(one.path, plain_text(one.name)), quarantine, gathered)
        step()
    return gathered


def _take(file: InputFile, quarantine: Path | None, gathered: Gathered) -> None:
    read = read_outgoing(file.path)
    if isinstance(read, FileProblem):
        is_directory = read.kind.value == End.NOT_STORABLE
        end = End.MEDIA_DIRECTORY if is_directory else End(read.kind.value)
        gathered.end(InputProblem(file.name, f"{read.kind.value}: {read.detail}", end))
        return
    if read.finding:
        gathered.findings.append(InputProblem(file.name, read.finding, End.SENT))
        if quarantine is not None and (fault := _copied(file, quarantine)):
            gathered.end(InputProblem(file.name, f"quarantine: {fault}", End.QUARANTINE_FAILED))
            return
    gathered.names[file.path] = file.name
    gathered.instances.append(read)


def _copied(file: InputFile, quarantine: Path) -> str:
    """Copies the file as it stands, not executable; why that was not possible, '' if it was."""
    try:
        quarantine.mkdir(parents=True, exist_ok=True)
        with file.path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        name = (
            Path(file.name.split("!")[-1]).name.encode()[-NAME_BYTES_MAX:].decode(errors="ignore")
        )
        target = quarantine / f"{digest[:16]}-{name}"
        if not target.exists():
            part = quarantine / f".{target.name}.part"
            shutil.copyfile(file.path, part)
            part.chmod(_READ_ONLY)
            part.replace(target)
    except OSError as cause:
        return cause.strerror or type(cause).__name__
    return ""
