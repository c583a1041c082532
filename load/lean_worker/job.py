"""What a worker is told and what it tells, as compact bytes over its pipes.

Invariant: the two ends are of one version and one machine: what does not decode is our own fault.
Must not hold what only one end needs.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

READY = b"R"
NOT_TRIED = "not sent in time"
# sent or given up at, ended at (both CLOCK_MONOTONIC, ns), status or -1, problem, was sent
RECORD = struct.Struct("<qqiHB")
# header, and what follows it where the header does not say
_LENGTHS = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker associates and what bounds it."""

    host: str
    port: int
    associations: int
    window: int
    pdu_bytes: int
    seconds_max: float
    association_timeout_s: float
    response_timeout_s: float
    reconnects_max: int


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """A template as the wire needs it: `places` are offset and length in `data_set`."""

    sop_class_uid: str
    context_id: int
    places: tuple[tuple[int, int], ...]
    data_set: bytes

    @property
    def values_bytes(self) -> int:
        """How long the values of one instance are: see `frame.Frame`."""
        return 44 + sum(length for _, length in self.places)


@dataclass(slots=True)
class Job:
    """All that one worker sends. Instance n: template `template_of[n]`, due `due_ns[n]` after
    the start, its identity `values[n]`."""

    settings: Settings
    associate_request: bytes
    templates: list[JobTemplate]
    template_of: array[int] = field(default_factory=lambda: array("H"))
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    values: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Answers:
    """What one worker found. `records` are RECORDs in the order of the job's instances."""

    cpu_s: float
    associations: int
    window: int
    problems: list[str]
    association_problems: dict[str, int]
    records: bytes = b""


def encode_job(job: Job) -> Iterator[bytes]:
    """The job as a worker reads it, in pieces: data sets of hundreds of megabytes uncopied."""
    header = {
        "settings": asdict(job.settings),
        "templates": [
            [one.sop_class_uid, one.context_id, one.places, len(one.data_set)]
            for one in job.templates
        ],
        "request": len(job.associate_request),
        "count": len(job.values),
    }
    text = json.dumps(header).encode()
    yield _LENGTHS.pack(len(text), 0) + text + job.associate_request
    for one in job.templates:
        yield one.data_set
    yield job.template_of.tobytes() + job.due_ns.tobytes()
    yield b"".join(job.values)


def decode_job(read: Callable[[int], bytes]) -> Job:
    """The job that `read` (exactly n bytes) delivers."""
    header_bytes, _ = _LENGTHS.unpack(read(_LENGTHS.size))
    header = json.loads(read(header_bytes))
    request = read(header["request"])
    templates = [
        JobTemplate(uid, context_id, tuple((at, length) for at, length in places), read(size))
        for uid, context_id, places, size in header["templates"]
    ]
    job = Job(Settings(**header["settings"]), request, templates)
    count = header["count"]
    job.template_of.frombytes(read(count * job.template_of.itemsize))
    job.due_ns.frombytes(read(count * job.due_ns.itemsize))
    job.values = [read(templates[number].values_bytes) for number in job.template_of]
    return job


def encode_answers(answers: Answers) -> bytes:
    """The answers as the parent reads them."""
    header = asdict(answers)
    records: bytes = header.pop("records")
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), len(records)) + text + records


def decode_answers(read: Callable[[int], bytes]) -> Answers:
    """The answers that `read` (exactly n bytes) delivers."""
    header_bytes, rest_bytes = _LENGTHS.unpack(read(_LENGTHS.size))
    answers = Answers(**json.loads(read(header_bytes)))
    answers.records = read(rest_bytes)
    return answers
