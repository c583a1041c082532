"""`hilum packs fetch`: a study as Part-10 files, one request for each pack, several at once.

Invariant: a file stands under its name only after its data set was hashed while it was written
and has the sha256 that the index names; no name comes from anything but a UID or a hash.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from contracts.failures import FatalError, RetryableError
from contracts.identity import is_uid
from infra.seams import Database, ObjectStore, StoreSite
from operations.packs.whole import HEAD_BYTES, data_set_offset

MIB = 1024 * 1024
PARALLEL = 8
# What lies between two wanted members is read and dropped up to here: a request costs about as
# much as a local store needs for that many bytes.
GAP_BYTES_MAX = MIB
# A pack that went away, or a line that broke, is asked for anew; the index is, too.
ROUNDS_MAX = 3
KEYS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One content, where the index says it lies, and the file that it becomes."""

    sop_instance_uid: str
    content_sha256: str
    object_key: str
    offset_bytes: int
    length_bytes: int
    file_name: str

    @property
    def end_bytes(self) -> int:
        """Behind the member's last byte."""
        return self.offset_bytes + self.length_bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """The keys of `hilum packs fetch --json`. `wrong` has a line for each file not written."""

    ok: bool
    key: str
    site: str
    directory: str
    instances: int
    size_bytes: int
    packs: int
    requests: int
    seconds: float
    wrong: tuple[str, ...]


@dataclass(slots=True)
class _Fetching:
    """What requests have come to; `failure` is why the last one broke off."""

    done: set[str] = field(default_factory=set)
    wrong: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    requests: int = 0
    failure: str = ""

    def left_of(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """What is neither written nor wrong."""
        ended = self.done | self.wrong.keys()
        return [one for one in wanted if one.file_name not in ended]


def fetch(
    site: StoreSite,
    key: str,
    directory: Path,
    *,
    parallel: int = PARALLEL,
    tell: Tell = lambda text: None,
) -> Fetched:
    """On return each instance of a study, a series or a SOP Instance UID is a file, or in `wrong`.

    Raises FatalError (nothing of that key in the index, no room), RetryableError (no ClickHouse).
    """
    began_s = time.monotonic()
    wanted = find_wanted(site.database, key)
    if not wanted:
        raise FatalError(f"{key} is not in the index of {site.name}", f"try `hilum where {key}`")
    packs = {one.object_key for one in wanted}
    total = _Fetching()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for _ in range(ROUNDS_MAX):
            left = total.left_of(wanted)
            _fetch_once(site.object_store, left, directory, parallel, total, tell=tell)
            if not total.left_of(wanted):
                break
            # A pack is collected only when the index names another place for all that it holds.
            wanted = find_wanted(site.database, key)
    except OSError as cause:
        raise FatalError(
            f"writing into {directory}: {cause.strerror}", "name another directory with --to"
        ) from cause
    wrong = [f"{name}: {why}" for name, why in sorted(total.wrong.items())]
    wrong += [f"{one.file_name}: {total.failure}" for one in total.left_of(wanted)]
    return Fetched(
        ok=not wrong,
        key=key,
        site=site.name,
        directory=str(directory),
        instances=len(total.done),
        size_bytes=total.size_bytes,
        packs=len(packs),
        requests=total.requests,
        seconds=round(time.monotonic() - began_s, 3),
        wrong=tuple(wrong),
    )


def find_wanted(database: Database, key: str) -> list[Wanted]:
    """Everything that a UID names, by pack and place. Raises RetryableError, FatalError."""
    for name in KEYS:
        rows = database.query(
            "SELECT sop_instance_uid, content_sha256, object_key, offset_bytes, length_bytes"
            f" FROM instances WHERE {name} = {{key:String}}"
            " ORDER BY object_key, offset_bytes, sop_instance_uid, content_sha256",
            {"key": key},
        )
        if rows:
            return _named(rows)
    return []


def runs_of(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """The members of each request: neighbours in one pack, all of it where half is wanted."""
    for _, same in groupby(wanted, attrgetter("object_key")):
        members = list(same)
        span = members[-1].end_bytes - members[0].offset_bytes
        gap_max = span if 2 * sum(one.length_bytes for one in members) >= span else GAP_BYTES_MAX
        run = members[:1]
        for member in members[1:]:
            if member.offset_bytes - run[-1].end_bytes > gap_max:
                yield run
                run = []
            run.append(member)
        yield run


def _named(rows: Sequence[dict[str, object]]) -> list[Wanted]:
    """Under the SOP Instance UID; with the hash where several contents carry it."""
    times = Counter(str(row["sop_instance_uid"]) for row in rows)
    found = []
    for row in rows:
        uid, sha256 = str(row["sop_instance_uid"]), str(row["content_sha256"])
        name = uid if times[uid] == 1 else f"{uid}.{sha256}"
        found.append(
            Wanted(
                sop_instance_uid=uid,
                content_sha256=sha256,
                object_key=str(row["object_key"]),
                offset_bytes=int(str(row["offset_bytes"])),
                length_bytes=int(str(row["length_bytes"])),
                file_name=f"{name if is_uid(uid) else sha256}.dcm",
            )
        )
    return found


def _fetch_once(
    store: ObjectStore,
    wanted: Sequence[Wanted],
    directory: Path,
    parallel: int,
    total: _Fetching,
    *,
    tell: Tell,
) -> None:
    runs = list(runs_of(wanted))
    with ThreadPoolExecutor(parallel) as pool:
        for one in pool.map(lambda run: _fetch_run(store, run, directory), runs):
            total.done |= one.done
            total.wrong |= one.wrong
            total.size_bytes += one.size_bytes
            total.requests += one.requests
            total.failure = one.failure or total.failure
            tell(f"fetched {len(total.done)} instances, {total.size_bytes >> 20} MiB")


def _fetch_run(store: ObjectStore, run: Sequence[Wanted], directory: Path) -> _Fetching:
    """One request; what is whole when it breaks off is kept."""
    told = _Fetching(requests=1)
    first = run[0].offset_bytes
    try:
        chunks = store.open(run[0].object_key, first, run[-1].end_bytes - first)
        reader = _Forward(chunks, first)
        for member in run:
            if _write(reader, member, directory):
                told.done.add(member.file_name)
                told.size_bytes += member.length_bytes
            else:
                told.wrong[member.file_name] = f"{member.object_key} holds other bytes there"
    except KeyError:
        told.failure = f"{run[0].object_key} is not in the bucket"
    except RetryableError as cause:
        told.failure = str(cause)
    return told


def _write(reader: _Forward, member: Wanted, directory: Path) -> bool:
    """On return the file is there and right, or nothing is."""
    partial = directory / f"{member.file_name}.part"
    try:
        with partial.open("wb") as file:
            sha256 = reader.copy(member, file)
        is_right = sha256 == member.content_sha256
        if is_right:
            partial.rename(directory / member.file_name)
        return is_right
    finally:
        partial.unlink(missing_ok=True)


class _Forward:
    """A range's chunks, read forward by offsets of the object."""

    def __init__(self, chunks: Iterator[bytes], offset_bytes: int) -> None:
        self._chunks = chunks
        self._offset = offset_bytes
        self._rest = memoryview(b"")

    def copy(self, member: Wanted, file: BinaryIO) -> str:
        """Writes a member to a file; the sha256 of its data set, '' where it has none."""
        for _ in self._until(member.offset_bytes):
            pass
        head = b"".join(self._until(min(member.offset_bytes + HEAD_BYTES, member.end_bytes)))
        file.write(head)
        data_set_at = member.offset_bytes + data_set_offset(head)
        for part in self._until(min(data_set_at, member.end_bytes)):
            file.write(part)
        digest = hashlib.sha256()
        for part in self._until(member.end_bytes):
            file.write(part)
            digest.update(part)
        return digest.hexdigest() if data_set_at <= member.end_bytes else ""

    def _until(self, offset_bytes: int) -> Iterator[memoryview]:
        while self._offset < offset_bytes:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return  # the object is shorter than the index says: no hash will agree
                self._rest = memoryview(chunk)
            part = self._rest[: offset_bytes - self._offset]
            self._rest = self._rest[len(part) :]
            self._offset += len(part)
            yield part
