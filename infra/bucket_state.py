"""What a site's bucket is, for a person who looks: there, marked as ours, versioned, its clock.

Invariant: reads only; a bucket of another archive is an answer here and not a failure.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.failures import FatalError
from infra.object_store import S3ObjectStore
from infra.provision_bucket import require_marker
from infra.settings import SiteSettings


@dataclass(frozen=True, slots=True)
class BucketState:
    """`marker_problem` is '' where the bucket carries this site's mark."""

    is_there: bool
    marker_problem: str = ""
    versioning: str = "unknown"


def bucket_state(site: SiteSettings) -> BucketState:
    """What the store says. Raises RetryableError (down), FatalError (credentials, rights)."""
    store = S3ObjectStore(site.object_store)
    if not store.is_there():
        return BucketState(False)
    return BucketState(True, _marker_problem(store, site), store.versioning())


def _marker_problem(store: S3ObjectStore, site: SiteSettings) -> str:
    try:
        require_marker(store, site)
    except FatalError as cause:
        return str(cause)
    return ""
