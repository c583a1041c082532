"""Where a gateway's mirrors lie: one directory for each gateway_id, on a disk of their own.

Invariant: the directory of all mirrors is never made here: where the second disk is not mounted,
it is missing, and nothing is mirrored onto what lies below. Must not open a mirror.
"""

from __future__ import annotations

from pathlib import Path

from contracts.failures import RetryableError
from edge_gateway.spool import GatewayIdentity, SpoolError, SpoolReader
from infra.settings_spool import SpoolSettings
from infra.telemetry import logger

_LOG = logger("mirror")


def mirror_of(directory: Path, identity: GatewayIdentity) -> Path:
    """Where the mirror of this spool lies."""
    return directory / identity.gateway_id


def lack_of_disk(spool: SpoolSettings) -> str:
    """Why nothing can be mirrored there; '' where there is a second disk. Raises OSError."""
    directory = spool.mirror_directory
    assert directory is not None
    if not directory.is_dir():
        return f"{directory} is not there: mount the second disk, or make the directory on it"
    is_shared = directory.stat().st_dev == spool.directory.stat().st_dev
    if is_shared and not spool.mirror_may_share_disk:
        return (
            f"{directory} is on the same file system as {spool.directory}: put it on a second"
            " disk, or set spool.mirror_may_share_disk where one disk may take both"
        )
    return ""


def require_own_disk(spool: SpoolSettings) -> None:
    """Raises RetryableError where there is no second disk now, OSError where nobody can say."""
    lack = lack_of_disk(spool)
    if lack:
        raise RetryableError(lack)


def lost_mirrors(directory: Path, current: GatewayIdentity) -> list[GatewayIdentity]:
    """Of spools that are not there any more, but for their mirrors. Raises OSError."""
    found = []
    for path in sorted(directory.iterdir()):
        try:
            identity = SpoolReader(path).identity() if path.is_dir() else None
        except SpoolError as problem:
            _LOG.error("not a mirror that can be read", path=str(path), reason=str(problem))
            continue
        if identity is None or identity.gateway_id == current.gateway_id:
            continue
        if path.name == identity.gateway_id:
            found.append(identity)
    return found
