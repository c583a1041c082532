"""What a site really holds: every member of every pack, and every current row of the index.

Invariant: read with other people's libraries only (minio, tarfile, fastavro, plain HTTP), so that
a mistake of the product cannot hide itself here. It must not import the product.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import fastavro
from minio import Minio

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
GROUP_LENGTH_ELEMENT_BYTES = 12  # (0002,0000) UL, its length 4, and the value
QUERY_TIMEOUT_S = 60.0


class Content(NamedTuple):
    """The same UID with the same bytes."""

    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Site:
    """How to reach one site's store and index."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    clickhouse_url: str
    database: str


@dataclass(slots=True)
class Holdings:
    """What a site holds. `hashes`: of whole objects by key; `faults`: what is not as it says."""

    kept: set[Content] = field(default_factory=set)
    quarantined: set[Content] = field(default_factory=set)
    hashes: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Row(NamedTuple):
    """A current row of the view `instances`."""

    content: Content
    object_key: str


def holdings(site: Site) -> Holdings:
    """Every object of the bucket, read whole."""
    client = client_of(site)
    found = Holdings()
    for prefix in ("packs/", "quarantine/"):
        for listed in client.list_objects(site.bucket, prefix=prefix, recursive=True):
            data = _read(client, site.bucket, str(listed.object_name))
            _take_pack(found, str(listed.object_name), data)
    return found


def client_of(site: Site) -> Minio:
    """A client of the site's store."""
    keys = {"access_key": site.access_key, "secret_key": site.secret_key}
    return Minio(site.endpoint, secure=False, **keys)


def rows(site: Site) -> list[Row]:
    """The index as whoever asks it sees it."""
    sql = "SELECT sop_instance_uid, content_sha256, object_key FROM instances"
    return [
        Row(Content(row["sop_instance_uid"], row["content_sha256"]), row["object_key"])
        for row in query(site, sql)
    ]


def query(site: Site, sql: str) -> Iterator[dict[str, Any]]:
    """The rows of a SELECT over plain HTTP."""
    for line in run(site, f"{sql} FORMAT JSONEachRow").splitlines():
        yield json.loads(line)


def run(site: Site, sql: str) -> bytes:
    """What the index answers to one statement."""
    parameters = urllib.parse.urlencode({"database": site.database})
    url = f"{site.clickhouse_url}/?{parameters}"
    request = urllib.request.Request(url, sql.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=QUERY_TIMEOUT_S) as answer:
        return bytes(answer.read())


def _read(client: Minio, bucket: str, key: str) -> bytes:
    response = client.get_object(bucket, key)
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()


def _take_pack(found: Holdings, key: str, data: bytes) -> None:
    found.hashes[key] = hashlib.sha256(data).hexdigest()
    if found.hashes[key] not in key:
        found.faults.append(f"{key}: its bytes have sha256 {found.hashes[key]}")
    try:
        members, manifest = _unpacked(data)
    except (tarfile.TarError, ValueError, EOFError, KeyError) as cause:
        found.faults.append(f"{key}: not readable as a pack: {type(cause).__name__}")
        return
    place = found.kept if key.startswith("packs/") else found.quarantined
    for event in manifest:
        stored = members.pop(f"{event['delivery_id']}.dcm", None)
        told = event["content"]["content_sha256"]
        if stored is None or stored != told:
            found.faults.append(f"{key}: {event['delivery_id']} is not what its manifest tells")
        if stored is not None:
            # What lies there counts, not what is told of it.
            place.add(Content(event["content"]["sop_instance_uid"], stored))
    found.faults += [f"{key}: {name} is in no manifest" for name in members]


def _unpacked(data: bytes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """sha256 of each member's data set, and the manifest's records."""
    hashes: dict[str, str] = {}
    manifest: list[dict[str, Any]] | None = None
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as pack:
        for member in pack:
            opened = pack.extractfile(member)
            content = opened.read() if opened else b""
            if member.name == "manifest.avro":
                manifest = [record for record in fastavro.reader(io.BytesIO(content)) if
                            isinstance(record, dict)]  # fmt: skip
            elif member.name.endswith(".dcm"):
                hashes[member.name] = hashlib.sha256(_data_set(content)).hexdigest()
    if manifest is None:
        raise ValueError("no manifest")
    return hashes, manifest


def _data_set(part10: bytes) -> bytes:
    """What stands behind the file meta information (PS3.10 7.1)."""
    start = PREAMBLE_BYTES + len(MAGIC)
    if part10[PREAMBLE_BYTES:start] != MAGIC:
        raise ValueError("no Part-10 member")
    end = start + GROUP_LENGTH_ELEMENT_BYTES
    return part10[end + int.from_bytes(part10[end - 4 : end], "little") :]
