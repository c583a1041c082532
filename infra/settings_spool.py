"""The settings of a gateway's spool, and of the second disk that mirrors it.

Invariant: no default weakens a guarantee: a mirror on the disk of the spool has to be asked for.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from infra.settings_section import Section

MIB = 1024 * 1024
GIB = 1024 * MIB


class SpoolSettings(Section):
    """The gateway's durable log. None: chosen at first start from what is free (02-gateway).

    `mirror_directory` (None: no mirror) has to be on another file system, where the mirror of each
    spool has a directory of its own, unless `mirror_may_share_disk`: then a lost disk takes both.
    """

    directory: Path
    mirror_directory: Path | None = None
    mirror_may_share_disk: bool = False
    segment_bytes: int = Field(default=256 * MIB, ge=MIB, le=GIB)
    object_in_memory_bytes_max: int = Field(default=4 * MIB, ge=64 * 1024)
    memory_bytes_max: int = Field(default=256 * MIB, ge=4 * MIB)
    object_bytes_max: int = Field(default=4 * GIB, ge=1)
    spool_bytes_max: int | None = Field(default=None, ge=4 * MIB)
    free_bytes_min: int | None = Field(default=None, ge=0)
    hold_s: int = Field(default=24 * 3600, ge=0)

    @model_validator(mode="after")
    def _mirror_is_apart(self) -> SpoolSettings:
        if self.mirror_directory is None:
            return self
        spool, mirror = self.directory.absolute(), self.mirror_directory.absolute()
        if spool.is_relative_to(mirror) or mirror.is_relative_to(spool):
            raise ValueError(
                f"mirror_directory {mirror} and directory {spool}: neither may lie in the other"
            )
        return self
