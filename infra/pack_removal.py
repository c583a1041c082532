"""Takes collected packs out of one site's bucket: the only deletion in Hilum.

Invariant: an object goes only if it is a pack and the bucket's own record says that it was
collected; so no consumer can delete (their seam has no such thing), and a slip of the caller
cannot either. What stays to be decided, it must not decide.
"""

from __future__ import annotations

from minio.error import S3Error

from contracts.failures import FatalError
from contracts.pack_records import collected_key
from infra.object_store import S3ObjectStore
from infra.object_store_errors import translated
from infra.settings import ObjectStoreSettings


class PackRemoval:
    """Removals from the bucket of these settings."""

    def __init__(self, store: ObjectStoreSettings) -> None:
        self._store = S3ObjectStore(store)

    def remove(self, key: str) -> None:
        """On return the store no longer has the pack; one that is gone already is success.

        Raises FatalError (no record, or the store forbids it), RetryableError.
        """
        where = f"{self._store.bucket}/{key}"
        if self._store.head(collected_key(key)) is None:
            raise FatalError(f"removing {where}: no record says that it was collected")
        with translated(f"removing {where}"):
            try:
                self._store._client.remove_object(self._store.bucket, key)
            except S3Error as cause:
                if cause.code != "NoSuchKey":
                    raise
