"""A mapping of texts that is made of pieces, which it shares with other ones.

Invariant: no key stands in two of its pieces, and no piece is changed once it is one. It must not
know what the texts are, nor how they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain


class PiecedMap(Mapping[str, str]):
    """Keys and texts in the order of `pieces`.

    Whoever writes many of them does the work for a shared piece once: the object is the same.
    """

    __slots__ = ("pieces",)

    def __init__(self, pieces: tuple[Mapping[str, str], ...]) -> None:
        self.pieces = pieces

    def __getitem__(self, key: str) -> str:
        for piece in self.pieces:
            if key in piece:
                return piece[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.pieces)

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __repr__(self) -> str:
        # Without a text: these may carry patients' names.
        return f"PiecedMap({len(self)} in {len(self.pieces)} pieces)"
