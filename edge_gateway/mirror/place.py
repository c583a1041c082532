"""Where a gateway's mirrors lie: one directory for each gateway_id, on a disk of their own.

Invariant: the directory of all mirrors is never made here: where the second disk is not mounted,
it is missing, and nothing is mirrored onto what lies below. What a lost spool left gets another
name before anything is changed in it, so that a spool that comes back begins a mirror of its own.
Must not open a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.failures import RetryableError
from edge_gateway.spool import FileSystem, GatewayIdentity, SpoolError, SpoolReader
from infra.settings_spool import SpoolSettings
from infra.telemetry import logger

_ASIDE = "lost-"
_LOG = logger("mirror")


@dataclass(frozen=True, slots=True)
class LostMirror:
    """What the second disk holds of a spool that is not there any more."""

    directory: Path
    identity: GatewayIdentity


def mirrors_of(spool: SpoolSettings, gateway_name: str) -> Path:
    """Where this gateway's mirrors lie: two gateways may share a second disk."""
    assert spool.mirror_directory is not None
    return spool.mirror_directory / gateway_name


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


def lost_mirrors(directory: Path, current: GatewayIdentity) -> list[LostMirror]:
    """Those of spools that are not there any more. Raises OSError."""
    found = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        try:
            identity = SpoolReader(path).identity() if path.is_dir() else None
        except SpoolError as problem:
            _LOG.error("not a mirror that can be read", path=str(path), reason=str(problem))
            continue
        if identity is None or path.name == current.gateway_id:
            continue
        if identity.gateway_id == current.gateway_id:
            _LOG.warning("its spool is back: nothing of it is needed", path=str(path))
            continue
        found.append(LostMirror(path, identity))
    return found


def set_aside(lost: LostMirror) -> LostMirror:
    """On return it has a name of its own that survives a power loss. Raises OSError."""
    if lost.directory.name.startswith(_ASIDE):
        return lost
    base = f"{_ASIDE}{lost.identity.gateway_id}"
    names = [base, *(f"{base}-{number}" for number in range(2, 100))]
    parent = lost.directory.parent
    target = next(path for name in names if not (path := parent / name).exists())
    fs = FileSystem()
    fs.rename(lost.directory, target)
    fs.flush_directory(parent)
    return LostMirror(target, lost.identity)
