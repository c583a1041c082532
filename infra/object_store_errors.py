"""S3's error codes and its client's exceptions as the three failure classes, in one table.

Invariant: what no row names is Fatal unless its status says that the server is at fault (5xx, 429).
Poison is only what concerns the one object and stays so: a missing right or a full bucket is a
matter of the whole store, and no delivery is given up for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from contracts.failures import FatalError, HilumError, PoisonError, Reason, RetryableError

# The object or the transfer may be sound next time. The checksum codes mean that the bytes were
# altered on their way (a retry reads the file again), NoSuchUpload and InvalidPart that somebody
# aborted our multipart upload, the quotas that a person makes room.
_HEALS = frozenset(
    {
        "BadDigest",
        "ContentSHA256Mismatch",
        "IncompleteBody",
        "InternalError",
        "InvalidDigest",
        "InvalidPart",
        "NoSuchUpload",
        "OperationAborted",
        "QuotaExceeded",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioServerNotInitialized",
        "XMinioStorageFull",
    }
)
_RETRYABLE_STATUSES = frozenset({408, 425, 429})

# This object will never be taken: it is larger than the store, or a proxy before it, lets in.
_REFUSED = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded"})
_TOO_LARGE_STATUS = 413

_NEXT_STEPS = {
    # A HEAD has no body: there a wrong key and a missing right look alike.
    "AccessDenied": (
        "correct object_store.access_key and object_store.secret_key, "
        "or grant that user read and write on the bucket"
    ),
    "AuthorizationHeaderMalformed": "correct object_store.region",
    "InvalidAccessKeyId": "correct object_store.access_key",
    "NoSuchBucket": "correct object_store.bucket, or create it with `hilum up`",
    "PermanentRedirect": "correct object_store.endpoint and object_store.region",
    "SignatureDoesNotMatch": "correct object_store.secret_key",
    "XAdminUserNotFound": "correct object_store.access_key",  # versitygw's InvalidAccessKeyId
}


class S3StatusError(Exception):
    """An S3 response that is no success, with its code as far as it names one."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code or status}: {message}")
        self.status = status
        self.code = code


def translate(cause: Exception, doing: str) -> HilumError:
    """The failure that `cause` means; `doing` is a gerund with bucket and key."""
    if isinstance(cause, S3Error):
        text = f"{doing}: {cause.code}: {cause.message}"
        return _by_code(cause.code or "", cause.response.status, text)
    text = f"{doing}: {cause}"
    if isinstance(cause, S3StatusError):
        return _by_code(cause.code, cause.status, text)
    if isinstance(cause, ServerError):
        return _by_code("", cause.status_code, text)
    if isinstance(cause, InvalidResponseError):  # a proxy's page in front of the store
        return _by_code("", int(cause._code), text)
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(reason, SSLError):
        return FatalError(text, "set object_store.ca_file to the store's CA, or correct `secure`")
    if isinstance(cause, HTTPError):
        return RetryableError(text)
    return FatalError(text, "look the error up in the object store's log")


def _by_code(code: str, status: int, text: str) -> HilumError:
    if code in _HEALS or status >= 500 or status in _RETRYABLE_STATUSES:
        return RetryableError(text)
    if code in _REFUSED or status == _TOO_LARGE_STATUS:
        return PoisonError(Reason.REFUSED_BY_SINK, text)
    fallback = "look the error up in the object store's log"
    return FatalError(text, _NEXT_STEPS.get(code, fallback))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Runs a block whose S3 and HTTP exceptions leave as failures of ours."""
    try:
        yield
    except (S3Error, S3StatusError, ServerError, InvalidResponseError, HTTPError) as cause:
        raise translate(cause, doing) from cause
