"""Makes a site's bucket and marks whose archive it is.

Invariant: a bucket that carries another site's mark is refused before anything is written into it.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import timedelta
from pathlib import Path

import orjson

from contracts.failures import FatalError
from infra.object_store import S3ObjectStore
from infra.settings import SiteSettings

MARKER_KEY = "hilum-archive.json"
STALE_UPLOAD_AGE = timedelta(days=1)


def provision_bucket(site: SiteSettings) -> list[str]:
    """The site's bucket is there, is ours, and holds no stale uploads; says what was changed.

    Raises FatalError (another archive's bucket, credentials), RetryableError.
    """
    store = S3ObjectStore(site.object_store)
    changes = []
    if store.ensure_bucket():
        changes.append(f"bucket {store.bucket}: created for site {site.name}")
    if _mark(store, site):
        changes.append(f"bucket {store.bucket}: marked as the archive of site {site.name}")
    if stale := store.abort_stale_uploads(STALE_UPLOAD_AGE):
        changes.append(f"bucket {store.bucket}: {stale} stale upload(s) aborted")
    return changes


def require_marker(store: S3ObjectStore, site: SiteSettings) -> None:
    """Raises FatalError when the bucket is not marked as this site's archive."""
    try:
        found = store.read(MARKER_KEY)
    except KeyError as cause:
        raise FatalError(
            f"bucket {store.bucket} carries no {MARKER_KEY}",
            "run `hilum up`, or correct object_store.bucket",
        ) from cause
    if found != _marker(site):
        raise FatalError(
            f"bucket {store.bucket} belongs to another archive than site {site.name}: "
            f"{found[:200].decode(errors='replace')}",
            "correct object_store.endpoint and object_store.bucket of this site",
        )


def _mark(store: S3ObjectStore, site: SiteSettings) -> bool:
    if store.head(MARKER_KEY) is not None:
        require_marker(store, site)
        return False
    marker = _marker(site)
    with tempfile.TemporaryDirectory(prefix="hilum-") as directory:
        path = Path(directory) / MARKER_KEY
        path.write_bytes(marker)
        store.put_file(MARKER_KEY, path, hashlib.sha256(marker).hexdigest(), {})
    return True


def _marker(site: SiteSettings) -> bytes:
    """Deterministic, so that two processes that mark at once write the same object."""
    form = {"archive": "hilum", "site": site.name, "database": site.clickhouse.database}
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
