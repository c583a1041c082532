"""A pack between two stores: in memory, or on the scratch disk.

Invariant: a held pack is what the last `fill` read, with the sha256 that it gave; it never takes
more memory than was set aside for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from consumers.pack_buffers import PackBuffers
from consumers.scratch import Scratch, read_range
from contracts.pack_reading import PackContents, read_pack
from infra.seams import ObjectStore


class HeldPack(Protocol):
    """One pack's bytes, for a moment."""

    @property
    def is_filled(self) -> bool:
        """Whether `fill` has read something."""

    def fill(self, data: Iterable[bytes]) -> str:
        """Takes these bytes in place of any earlier ones and gives their sha256.

        '' where they are more than were set aside for: then they are not what was announced.
        """

    def put(self, store: ObjectStore, key: str, sha256: str, metadata: Mapping[str, str]) -> None:
        """Stores the bytes. See `ObjectStore.put_file`."""

    def contents(self) -> PackContents:
        """Manifest and members. Raises PackFormatError."""


class InMemory:
    """`HeldPack` of a pack that was announced with `size_bytes_max`."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_bytes_max = size_bytes_max
        self._pack = PackBuffers()
        self.is_filled = False

    def fill(self, data: Iterable[bytes]) -> str:
        """See `HeldPack`. Of what is longer than announced there is no sha256: ''."""
        digest = hashlib.sha256()
        self._pack = PackBuffers()
        self.is_filled = True
        for chunk in data:
            if self._pack.size_bytes + len(chunk) > self._size_bytes_max:
                return ""
            digest.update(chunk)
            self._pack.write(chunk)
        return digest.hexdigest()

    def put(self, store: ObjectStore, key: str, sha256: str, metadata: Mapping[str, str]) -> None:
        """See `HeldPack`."""
        store.put_buffers(key, self._pack.buffers, sha256, metadata)

    def contents(self) -> PackContents:
        """See `HeldPack`."""
        return read_pack(self._pack.read_range, self._pack.size_bytes)


class OnDisk:
    """`HeldPack` at a path of the scratch directory."""

    def __init__(self, scratch: Scratch, path: Path) -> None:
        self._scratch = scratch
        self._path = path
        self.is_filled = False

    def fill(self, data: Iterable[bytes]) -> str:
        """See `HeldPack`."""
        self.is_filled = True
        return self._scratch.fill(self._path, data)

    def put(self, store: ObjectStore, key: str, sha256: str, metadata: Mapping[str, str]) -> None:
        """See `HeldPack`."""
        store.put_file(key, self._path, sha256, metadata)

    def contents(self) -> PackContents:
        """See `HeldPack`."""
        with self._path.open("rb") as file:
            return read_pack(partial(read_range, file), self._path.stat().st_size)


def sha256_of(data: Iterable[bytes]) -> str:
    """The sha256 of bytes that nobody keeps, in lowercase hex."""
    digest = hashlib.sha256()
    for chunk in data:
        digest.update(chunk)
    return digest.hexdigest()
