"""What no code of ours does to a bucket: taking objects away and writing over them."""

from __future__ import annotations

import io

from minio import Minio

from infra.settings import ObjectStoreSettings


def remove_object(store: ObjectStoreSettings, key: str) -> None:
    """The object is gone."""
    _client(store).remove_object(store.bucket, key)


def overwrite_object(
    store: ObjectStoreSettings,
    key: str,
    data: bytes = b"these are not the bytes whose hash the key is",
) -> None:
    """The object has other bytes."""
    _client(store).put_object(store.bucket, key, io.BytesIO(data), len(data))


def _client(store: ObjectStoreSettings) -> Minio:
    return Minio(
        store.endpoint,
        access_key=store.access_key,
        secret_key=store.secret_key.get_secret_value(),
        secure=store.secure,
    )
