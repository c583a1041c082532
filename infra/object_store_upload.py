"""The S3 requests that carry bytes up: single PUT and multipart, streamed and checksummed.

Invariant: every byte that is sent stands under a SHA-256 that the store itself checks
(`x-amz-content-sha256` and `x-amz-checksum-sha256`), and a multipart upload is completed only when
the whole file, as it was read, has the sha256 that was promised. minio-py can send neither a
checksum nor `If-None-Match`, and hands a body to the socket in one piece, whose time-out then
bounds the whole transfer instead of a stall; so these requests are ours, with its signer.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlunsplit
from xml.etree import ElementTree

from minio.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import sign_v4_s3
from urllib3 import BaseHTTPResponse, PoolManager

from contracts.failures import RetryableError
from infra.object_store_errors import S3StatusError, translated
from infra.settings import ObjectStoreSettings

MIB = 1024 * 1024
SINGLE_PUT_BYTES_MAX = 32 * MIB
PART_BYTES = 16 * MIB
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    initiated_at: datetime


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    etag: str
    checksum: str


class Uploads:
    """Uploads into one bucket. Every method raises RetryableError and FatalError."""

    def __init__(self, store: ObjectStoreSettings, pool: PoolManager) -> None:
        scheme = "https://" if store.secure else "http://"
        self._urls = BaseURL(scheme + store.endpoint, store.region)
        self._credentials = Credentials(store.access_key, store.secret_key.get_secret_value())
        self._region = store.region
        self._bucket = store.bucket
        self._pool = pool

    def put(self, key: str, path: Path, sha256: str, headers: Mapping[str, str]) -> bool:
        """Stores a whole file by one PUT; False where the key was taken before us."""
        with self._doing("storing", key), path.open("rb") as file:
            try:
                checked = {**headers, **_checksum(bytes.fromhex(sha256)), "If-None-Match": "*"}
                self._send("PUT", key, headers=checked, body=file, sha256=sha256)
            except S3StatusError as cause:
                # 412: it is there. 409: another PUT of it was under way just now.
                if cause.status not in (409, 412) or cause.code == "NoSuchBucket":
                    raise
                return False
        return True

    def put_in_parts(self, key: str, path: Path, sha256: str, headers: Mapping[str, str]) -> None:
        """Stores a file by parts of PART_BYTES, one of them in memory at a time.

        Raises RetryableError too when the file does not have `sha256`: nothing is stored then.
        """
        with self._doing("storing", key):
            begin = {**headers, "x-amz-checksum-algorithm": "SHA256"}
            answer = self._send("POST", key, query={"uploads": ""}, headers=begin)
            upload_id = _text(ElementTree.fromstring(answer.data), "UploadId")
            is_complete = False
            try:
                parts = self._send_parts(key, upload_id, path, sha256)
                self._complete(key, upload_id, parts)
                is_complete = True
            finally:
                if not is_complete:
                    self._abort_quietly(key, upload_id)

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every multipart upload of the bucket that is neither completed nor aborted."""
        query = {"uploads": "", "max-uploads": "1000"}
        while True:
            with self._doing("listing uploads of", ""):
                root = ElementTree.fromstring(self._send("GET", None, query=query).data)
            for upload in (node for node in root if _tag(node) == "Upload"):
                initiated_at = datetime.fromisoformat(_text(upload, "Initiated"))
                yield OpenUpload(
                    key=_text(upload, "Key"),
                    upload_id=_text(upload, "UploadId"),
                    initiated_at=initiated_at.astimezone(UTC),
                )
            if _text(root, "IsTruncated") != "true":
                return
            query["key-marker"] = _text(root, "NextKeyMarker")
            query["upload-id-marker"] = _text(root, "NextUploadIdMarker")

    def abort(self, key: str, upload_id: str) -> None:
        """Drops the parts of an upload; one that is gone already is success."""
        with self._doing("aborting the upload of", key):
            try:
                self._send("DELETE", key, query={"uploadId": upload_id})
            except S3StatusError as cause:
                if cause.code != "NoSuchUpload":
                    raise

    def _send_parts(self, key: str, upload_id: str, path: Path, sha256: str) -> list[_Part]:
        whole = hashlib.sha256()
        parts: list[_Part] = []
        with path.open("rb") as file:
            while data := file.read(PART_BYTES):
                whole.update(data)
                digest = hashlib.sha256(data)
                answer = self._send(
                    "PUT",
                    key,
                    query={"partNumber": str(len(parts) + 1), "uploadId": upload_id},
                    headers=_checksum(digest.digest()),
                    body=io.BytesIO(data),
                    sha256=digest.hexdigest(),
                )
                etag = answer.headers.get("etag", "")
                parts.append(_Part(len(parts) + 1, etag, _base64(digest.digest())))
        if whole.hexdigest() != sha256:
            raise RetryableError(f"storing {key}: the file read is not the one that was promised")
        return parts

    def _complete(self, key: str, upload_id: str, parts: list[_Part]) -> None:
        root = ElementTree.Element("CompleteMultipartUpload")
        for part in parts:
            node = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(node, "PartNumber").text = str(part.number)
            ElementTree.SubElement(node, "ETag").text = part.etag
            ElementTree.SubElement(node, "ChecksumSHA256").text = part.checksum
        body = ElementTree.tostring(root)
        self._send(
            "POST",
            key,
            query={"uploadId": upload_id},
            headers={"Content-Type": "application/xml"},
            body=io.BytesIO(body),
            sha256=hashlib.sha256(body).hexdigest(),
        )

    def _abort_quietly(self, key: str, upload_id: str) -> None:
        try:
            self.abort(key, upload_id)
        except RetryableError:
            return  # provisioning aborts what is a day old; the first failure is what matters

    def _send(
        self,
        method: str,
        key: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: BinaryIO | None = None,
        sha256: str = _EMPTY_SHA256,
    ) -> BaseHTTPResponse:
        url = self._urls.build(
            method=method,
            region=self._region,
            bucket_name=self._bucket,
            object_name=key,
            query_params=dict(query or {}),
        )
        now = datetime.now(UTC)
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers={
                "Host": url.netloc,
                "Content-Length": str(_length(body)),
                "x-amz-content-sha256": sha256,
                "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
                **(headers or {}),
            },
            credentials=self._credentials,
            content_sha256=sha256,
            date=now,
        )
        sent = {name: str(value) for name, value in signed.items()}
        response = self._pool.urlopen(
            method, urlunsplit(url), body=body, headers=sent, redirect=False
        )
        _require_success(response)
        return response

    def _doing(self, verb: str, key: str) -> AbstractContextManager[None]:
        return translated(f"{verb} {self._bucket}/{key}")


def _require_success(response: BaseHTTPResponse) -> None:
    """Raises S3StatusError; S3 may also answer CompleteMultipartUpload 200 with an Error body."""
    code = message = ""
    if response.data[:1] == b"<":
        root = ElementTree.fromstring(response.data)
        if _tag(root) == "Error":
            code, message = _text(root, "Code"), _text(root, "Message")
    if response.status not in (200, 204) or code:
        status = response.status if response.status != 200 else 500
        raise S3StatusError(status, code, message)


def _checksum(digest: bytes) -> dict[str, str]:
    return {"x-amz-checksum-sha256": _base64(digest)}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _length(body: BinaryIO | None) -> int:
    if body is None:
        return 0
    length = body.seek(0, io.SEEK_END)
    body.seek(0)
    return length


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _text(node: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in node if _tag(child) == name), "")
