"""One site's bucket, spoken to in plain S3.

Invariant: nothing is ever overwritten or deleted; an object counts as stored only when the store
itself, asked again, names its size and sha256. Must use nothing that only one product has.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from minio import Minio
from minio.error import S3Error
from urllib3 import PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from contracts.failures import FatalError, RetryableError
from infra.object_body import Body, BufferBody, FileBody
from infra.object_store_errors import translated
from infra.object_store_upload import MIB, SINGLE_PUT_BYTES_MAX, Uploads
from infra.seams import StoredObject
from infra.settings import ObjectStoreSettings

CONNECT_TIMEOUT_S = 2.0
# A transfer in which not one block moves for so long is given up.
STALL_TIMEOUT_S = 30.0
CONNECTIONS_MAX = 16
READ_CHUNK_BYTES = MIB
SHA256_METADATA = "hilum-sha256"
_METADATA_PREFIX = "x-amz-meta-"


class S3ObjectStore:
    """`infra.seams.ObjectStore`. Connects at first use; safe from any thread. Retries nothing.

    `before_writing` is asked once, before the first object is stored, and raises where none may be.
    """

    def __init__(
        self,
        store: ObjectStoreSettings,
        before_writing: Callable[[S3ObjectStore], None] = lambda store: None,
    ) -> None:
        self._before_writing = before_writing
        self._may_write = False
        self._bucket = store.bucket
        self._region = store.region
        pool = _pool(store)
        self._client = Minio(
            store.endpoint,
            access_key=store.access_key,
            secret_key=store.secret_key.get_secret_value(),
            secure=store.secure,
            region=store.region,
            http_client=pool,
        )
        self._uploads = Uploads(store, pool)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def put_file(
        self, key: str, path: Path, sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Stores a file and reads back size and checksum. See `infra.seams.ObjectStore`."""
        return self._put(key, FileBody(path), sha256, metadata)

    def put_buffers(
        self, key: str, buffers: Sequence[bytes], sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """`put_file` of what is in memory. See `infra.seams.ObjectStore`."""
        return self._put(key, BufferBody(buffers), sha256, metadata)

    def _put(self, key: str, body: Body, sha256: str, metadata: Mapping[str, str]) -> StoredObject:
        if not self._may_write:
            self._before_writing(self)
            self._may_write = True
        there = self.head(key)
        if there is None:
            named = {**metadata, SHA256_METADATA: sha256}
            headers = {_METADATA_PREFIX + name: value for name, value in named.items()}
            headers["Content-Type"] = "application/octet-stream"
            if body.size_bytes <= SINGLE_PUT_BYTES_MAX:
                self._uploads.put(key, body, sha256, headers)
            else:
                self._uploads.put_in_parts(key, body, sha256, headers)
            there = self.head(key)
        if there is None:
            raise RetryableError(f"storing {self._bucket}/{key}: not there after the upload")
        if (there.size_bytes, there.sha256) != (body.size_bytes, sha256):
            raise FatalError(
                f"storing {self._bucket}/{key}: another object is there "
                f"({there.size_bytes} bytes, sha256 {there.sha256})",
                "find out who else writes into this bucket; nothing was overwritten",
            )
        return there

    def head(self, key: str) -> StoredObject | None:
        """The object's description, or None where there is none."""
        with translated(f"looking for {self._bucket}/{key}"):
            try:
                found = self._client.stat_object(
                    self._bucket, key, extra_headers={"x-amz-checksum-mode": "ENABLED"}
                )
            except S3Error as cause:
                if cause.code == "NoSuchKey":
                    return None
                raise
        headers = {name.lower(): value for name, value in (found.metadata or {}).items()}
        metadata = {
            name.removeprefix(_METADATA_PREFIX): value
            for name, value in headers.items()
            if name.startswith(_METADATA_PREFIX)
        }
        sha256 = _sha256_of(headers.get("x-amz-checksum-sha256", ""))
        return StoredObject(
            bucket=self._bucket,
            key=key,
            size_bytes=found.size or 0,
            # A multipart object's own checksum is one of its parts' checksums; there the whole
            # file's, which was checked before completing, stands in the metadata.
            sha256=sha256 or metadata.get(SHA256_METADATA),
            metadata=metadata,
        )

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """A range of an object, shorter only where the object ends before it does."""
        if length_bytes == 0:
            return b""
        return b"".join(self._stream(key, offset_bytes, length_bytes or 0))

    def open(
        self, key: str, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> Iterator[bytes]:
        """An object, or a range of it, in chunks of READ_CHUNK_BYTES at most."""
        if length_bytes == 0:
            return iter(())
        return self._stream(key, offset_bytes, length_bytes or 0)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under a prefix (sizes only), by key."""
        with translated(f"listing {self._bucket}/{prefix}"):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                key = found.object_name or ""
                yield StoredObject(self._bucket, key, found.size or 0, None, {})

    def ensure_bucket(self) -> bool:
        """Makes the bucket; True where it was missing. Raises RetryableError, FatalError."""
        with translated(f"making the bucket {self._bucket}"):
            try:
                # Listing instead of HEAD, because only an answer with a body tells a wrong secret
                # from a missing right.
                next(iter(self._client.list_objects(self._bucket)), None)
                return False
            except S3Error as cause:
                if cause.code != "NoSuchBucket":
                    raise
            try:
                self._client.make_bucket(self._bucket, location=self._region)
            except S3Error as cause:
                if cause.code != "BucketAlreadyOwnedByYou":
                    raise
        return True

    def is_there(self) -> bool:
        """Whether the bucket exists; makes nothing. Raises RetryableError, FatalError."""
        with translated(f"looking for the bucket {self._bucket}"):
            try:
                next(iter(self._client.list_objects(self._bucket)), None)
            except S3Error as cause:
                if cause.code != "NoSuchBucket":
                    raise
                return False
        return True

    def versioning(self) -> str:
        """`Enabled`, `Suspended`, `Off`, or `unknown` where the store does not say. Raises so."""
        with translated(f"asking for the versioning of {self._bucket}"):
            try:
                return str(self._client.get_bucket_versioning(self._bucket).status)
            except S3Error as cause:
                if cause.code in ("NotImplemented", "MethodNotAllowed", "AccessDenied"):
                    return "unknown"
                raise

    def abort_stale_uploads(self, older_than: timedelta) -> int:
        """Drops multipart uploads begun before that long ago; how many. Raises as `put_file`."""
        limit = datetime.now(UTC) - older_than
        stale = [upload for upload in self._uploads.open_uploads() if upload.initiated_at < limit]
        for upload in stale:
            self._uploads.abort(upload.key, upload.upload_id)
        return len(stale)

    def _stream(self, key: str, offset_bytes: int, length_bytes: int) -> Iterator[bytes]:
        with translated(f"reading {self._bucket}/{key}"):
            try:
                response = self._client.get_object(self._bucket, key, offset_bytes, length_bytes)
            except S3Error as cause:
                if cause.code == "NoSuchKey":
                    raise KeyError(key) from cause
                raise
            is_read = False
            try:
                yield from response.stream(READ_CHUNK_BYTES)
                is_read = True
            finally:
                if not is_read:
                    response.close()  # a connection with bytes left over cannot be used again
                response.release_conn()


class _PatientConnection(HTTPConnection):
    """Connects within the connect time-out and then sends with the stall time-out.

    urllib3 leaves the connect time-out on the socket while the body goes out: a store that
    flushes for three seconds would count as down.
    """

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(STALL_TIMEOUT_S)


class _PatientTlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(STALL_TIMEOUT_S)


class _PatientPool(HTTPConnectionPool):
    ConnectionCls = _PatientConnection


class _PatientTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PatientTlsConnection


def _pool(store: ObjectStoreSettings) -> PoolManager:
    options: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED"} if store.secure else {}
    if store.ca_file is not None:
        options["ca_certs"] = str(store.ca_file)
    pool = PoolManager(
        timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=STALL_TIMEOUT_S),
        maxsize=CONNECTIONS_MAX,
        block=True,
        retries=False,  # the runner's back-off retries whole batches; hidden ones would add to it
        **options,
    )
    pool.pool_classes_by_scheme = {"http": _PatientPool, "https": _PatientTlsPool}
    return pool


def _sha256_of(checksum: str) -> str | None:
    """Lowercase hex of a whole object's `x-amz-checksum-sha256`; None for a composite one."""
    if not checksum or "-" in checksum:
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except binascii.Error:
        return None
