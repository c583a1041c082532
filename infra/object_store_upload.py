"""The S3 requests that carry bytes up: single PUT and multipart, streamed and checksummed.

Invariant: every byte that is sent stands under a SHA-256 that the store itself checks
(`x-amz-checksum-sha256`, and `x-amz-content-sha256` until the store has shown that it checks the
first), and a multipart upload is completed only when the whole body, as it was sent, has the
sha256 that was promised. minio-py can send neither a checksum nor `If-None-Match`, and hands a
body to the socket in one piece, whose time-out then bounds the whole transfer instead of a stall;
so these requests are ours, with its signer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlunsplit
from xml.etree import ElementTree

from minio.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import sign_v4_s3
from urllib3 import BaseHTTPResponse, PoolManager

from contracts.failures import FatalError, RetryableError
from infra.object_body import Body, BufferBody, parts
from infra.object_store_errors import S3StatusError, translated
from infra.settings import ObjectStoreSettings

MIB = 1024 * 1024
# A pack goes up by one PUT: parts would help nobody, as none of them is sent again alone, and they
# cost MinIO 1.4 times the CPU of a PUT and us a second SHA-256. Only single giants come in parts.
SINGLE_PUT_BYTES_MAX = 128 * MIB
PART_BYTES = 16 * MIB
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CHECKSUM = "x-amz-checksum-sha256"


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
    """Uploads into one bucket. Every method raises RetryableError and FatalError.

    Those that store raise PoisonError too, where the store takes no object of that size.
    """

    def __init__(self, store: ObjectStoreSettings, pool: PoolManager) -> None:
        scheme = "https://" if store.secure else "http://"
        self._urls = BaseURL(scheme + store.endpoint, store.region)
        self._credentials = Credentials(store.access_key, store.secret_key.get_secret_value())
        self._region = store.region
        self._bucket = store.bucket
        self._pool = pool
        # Whether the store was seen to check `x-amz-checksum-sha256`, which is signed: then a
        # second SHA-256 of the same bytes for the signature proves nothing (0.5 CPU s a GB).
        self._is_checking = False
        # Whether the store takes `If-None-Match: *`; one that answers "not implemented" does not,
        # and there a HEAD before each upload is all that stands between two writers of one key.
        self._is_conditional = True

    def put(self, key: str, body: Body, sha256: str, headers: Mapping[str, str]) -> bool:
        """Stores a whole body by one PUT; False where the key was taken before us."""
        checksum = _base64(bytes.fromhex(sha256))
        is_unsigned = self._is_checking
        signed = _UNSIGNED if is_unsigned else sha256
        with self._doing("storing", key):
            answer = self._create(
                "PUT", key, headers={**headers, _CHECKSUM: checksum}, body=body, sha256=signed
            )
        if answer is None:
            return False
        self._is_checking = answer.headers.get(_CHECKSUM) == checksum
        if is_unsigned and not self._is_checking:
            raise FatalError(
                f"storing {self._bucket}/{key}: the store took bytes without checking them",
                "find out why it no longer answers with x-amz-checksum-sha256",
            )
        return True

    def put_in_parts(self, key: str, body: Body, sha256: str, headers: Mapping[str, str]) -> bool:
        """`put` by parts of PART_BYTES and a little, one of them in memory at a time.

        Raises RetryableError too when the body does not have `sha256`: nothing is stored then.
        """
        with self._doing("storing", key):
            begin = {**headers, "x-amz-checksum-algorithm": "SHA256"}
            answer = self._send("POST", key, query={"uploads": ""}, headers=begin)
            upload_id = _text(ElementTree.fromstring(answer.data), "UploadId")
            is_complete = False
            try:
                sent = self._send_parts(key, upload_id, body, sha256)
                is_complete = self._complete(key, upload_id, sent)
            finally:
                if not is_complete:
                    self._abort_quietly(key, upload_id)
        return is_complete

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

    def _send_parts(self, key: str, upload_id: str, body: Body, sha256: str) -> list[_Part]:
        whole = hashlib.sha256()
        sent: list[_Part] = []
        for part in parts(body, PART_BYTES):
            digest = hashlib.sha256()
            for block in part.blocks():
                whole.update(block)
                digest.update(block)
            checksum = _base64(digest.digest())
            answer = self._send(
                "PUT",
                key,
                query={"partNumber": str(len(sent) + 1), "uploadId": upload_id},
                headers={_CHECKSUM: checksum},
                body=part,
                sha256=digest.hexdigest(),
            )
            sent.append(_Part(len(sent) + 1, answer.headers.get("etag", ""), checksum))
        if whole.hexdigest() != sha256:
            raise RetryableError(f"storing {key}: the bytes sent are not those that were promised")
        return sent

    def _complete(self, key: str, upload_id: str, sent: list[_Part]) -> bool:
        root = ElementTree.Element("CompleteMultipartUpload")
        for part in sent:
            node = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(node, "PartNumber").text = str(part.number)
            ElementTree.SubElement(node, "ETag").text = part.etag
            ElementTree.SubElement(node, "ChecksumSHA256").text = part.checksum
        body = ElementTree.tostring(root)
        answer = self._create(
            "POST",
            key,
            query={"uploadId": upload_id},
            headers={"Content-Type": "application/xml"},
            body=BufferBody([body]),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        return answer is not None

    def _create(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str],
        body: Body,
        sha256: str,
    ) -> BaseHTTPResponse | None:
        """A request that makes an object where none is; None where the key was taken before us."""
        condition = {"If-None-Match": "*"} if self._is_conditional else {}
        all_headers = {**headers, **condition}
        try:
            return self._send(
                method, key, query=query, headers=all_headers, body=body, sha256=sha256
            )
        except S3StatusError as cause:
            if condition and cause.status == 501:
                answer = self._send(
                    method, key, query=query, headers=headers, body=body, sha256=sha256
                )
                # Only now it is known that the condition was what it does not have.
                self._is_conditional = False
                return answer
            # 412: it is there. 409: another one of it was under way just now.
            if cause.status not in (409, 412) or cause.code == "NoSuchBucket":
                raise
            return None

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
        body: Body | None = None,
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
                "Content-Length": str(body.size_bytes if body else 0),
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
            method,
            urlunsplit(url),
            body=body.blocks() if body and body.size_bytes else None,
            headers=sent,
            redirect=False,
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


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _text(node: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in node if _tag(child) == name), "")
