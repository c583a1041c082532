"""Objects that a gateway or the archive set aside: what is known of them, and their bytes.

Invariant: they come from the index, which names the pack; the bytes are those of the pack's member
and are compared with what was received. It must not move or change anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from contracts.failures import FatalError
from infra.seams import Database, StoreSite

_COLUMNS = (
    "delivery_id, reason, sop_instance_uid, study_instance_uid, content_sha256, site,"
    " calling_ae_title, received_at, size_bytes, bucket, object_key, offset_bytes, length_bytes"
)


@dataclass(frozen=True, slots=True)
class QuarantinedObject:
    """One delivery in quarantine. `size_bytes` is the data set's, `length_bytes` the member's."""

    delivery_id: str
    reason: str
    sop_instance_uid: str
    study_instance_uid: str
    content_sha256: str
    site: str
    calling_ae_title: str
    received_at: datetime | None
    size_bytes: int
    bucket: str
    object_key: str
    offset_bytes: int
    length_bytes: int

    @property
    def first_seen(self) -> str:
        """When the gateway took it; '' while the index does not know."""
        return self.received_at.isoformat() if self.received_at else ""

    def described(self) -> dict[str, object]:
        """For people and `--json`; `id` is what `dlq show` takes."""
        facts = asdict(self)
        del facts["received_at"]
        return {"id": facts.pop("delivery_id"), "first_seen": self.first_seen, **facts}


def quarantined_objects(database: Database, delivery_id: str = "") -> list[QuarantinedObject]:
    """Every object in quarantine, or the one of that delivery, oldest first.

    Raises RetryableError, FatalError.
    """
    chosen = "delivery_id = {id:String}" if delivery_id else "true"
    asked = f"SELECT {_COLUMNS} FROM quarantine WHERE {chosen} ORDER BY received_at, delivery_id"
    rows: Sequence[dict[str, Any]] = database.query(asked, {"id": delivery_id})
    return [QuarantinedObject(**row) for row in rows]


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there. Raises FatalError (it is, or it cannot be written)."""
    try:
        with path.open("xb") as file:
            yield file
    except OSError as cause:
        raise FatalError(f"writing {path}: {cause.strerror}", "name a new file") from cause


def write_object(store: StoreSite, found: QuarantinedObject, path: Path) -> None:
    """Its Part-10 file at `path`, which must not exist; whole and as it was received on return.

    Raises RetryableError, FatalError (another file is there, the bytes are not those received).
    """
    place = (found.object_key, found.offset_bytes, found.length_bytes)
    with new_file(path) as file:
        for chunk in store.object_store.open(*place):
            file.write(chunk)
    # The member is a Part-10 head of ours and then the data set as it came.
    with path.open("rb") as file:
        file.seek(found.length_bytes - found.size_bytes)
        if hashlib.file_digest(file, "sha256").hexdigest() != found.content_sha256:
            path.unlink()
            raise FatalError(
                f"{found.object_key}: not the bytes that were received",
                "run `hilum verify --bytes`, which names every damaged pack",
            )
