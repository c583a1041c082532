"""Changes to cases: bits, numbers, lengths, tokens, pieces moved, doubled, cut and spliced.

Invariant: the same seed and corpus give the same cases. It must not know what the bytes mean; what
stands for structure comes with the target as tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate

from tests.fuzz.target import CASE_BYTES_MAX

_INTERESTING = (0, 1, 2, 3, 4, 7, 8, 12, 16, 0x20, 0x40, 0x7F, 0x80, 0xFE, 0xFF)
_INTERESTING_WORDS = (0, 1, 2, 6, 7, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 2**31, 2**32 - 1)
_CHANGES = (1, 1, 1, 2, 2, 3, 5, 9)


class Mutator:
    """An endless series of cases made from a corpus."""

    def __init__(
        self,
        seed: int,
        corpus: Sequence[bytes],
        tokens: Sequence[bytes],
        costs_s: Sequence[float] | None = None,
    ) -> None:
        """`costs_s`: what each case takes; the dear ones are taken more rarely."""
        self._random = random.Random(seed)
        self._corpus = corpus
        self._tokens = tokens
        weights = [1 / (cost_s + 0.0005) for cost_s in costs_s or [0.0] * len(corpus)]
        self._weights = list(accumulate(weights))
        self._operations: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._set_byte,
            self._set_number,
            self._step_number,
            self._remove,
            self._double,
            self._put_token,
            self._write_token,
            self._splice,
            self._truncate,
            self._insert_noise,
        )

    def case(self) -> bytes:
        """The next case."""
        (picked,) = self._random.choices(self._corpus, cum_weights=self._weights)
        case = bytearray(picked)
        for _ in range(self._random.choice(_CHANGES)):
            self._random.choice(self._operations)(case)
        return bytes(case[:CASE_BYTES_MAX])

    def _place(self, case: bytearray, width: int = 1) -> int:
        return self._random.randrange(max(1, len(case) - width + 1))

    def _flip(self, case: bytearray) -> None:
        if case:
            case[self._place(case)] ^= 1 << self._random.randrange(8)

    def _set_byte(self, case: bytearray) -> None:
        if case:
            is_wild = self._random.random() < 0.5
            value = self._random.randrange(256) if is_wild else self._random.choice(_INTERESTING)
            case[self._place(case)] = value

    def _set_number(self, case: bytearray) -> None:
        self._write_number(case, lambda _: self._random.choice(_INTERESTING_WORDS))

    def _step_number(self, case: bytearray) -> None:
        self._write_number(case, lambda number: number + self._random.choice((-8, -2, -1, 1, 2, 8)))

    def _write_number(self, case: bytearray, change: Callable[[int], int]) -> None:
        width = self._random.choice((2, 4))
        at = self._place(case, width)
        order = self._random.choice(("big", "little"))
        number = int.from_bytes(case[at : at + width], order)  # type: ignore[arg-type]
        changed = change(number) % (1 << 8 * width)
        case[at : at + width] = changed.to_bytes(width, order)  # type: ignore[arg-type]

    def _piece(self, case: Sequence[int]) -> tuple[int, int]:
        start = self._random.randrange(len(case) + 1)
        length = min(self._random.choice((1, 2, 4, 8, 16, 64, 256)), len(case) - start)
        return start, start + length

    def _remove(self, case: bytearray) -> None:
        start, stop = self._piece(case)
        del case[start:stop]

    def _double(self, case: bytearray) -> None:
        start, stop = self._piece(case)
        at = self._place(case)
        case[at:at] = case[start:stop] * self._random.choice((1, 1, 2, 20))

    def _put_token(self, case: bytearray) -> None:
        at = self._place(case)
        case[at:at] = self._random.choice(self._tokens)

    def _write_token(self, case: bytearray) -> None:
        token = self._random.choice(self._tokens)
        at = self._place(case, len(token))
        case[at : at + len(token)] = token

    def _splice(self, case: bytearray) -> None:
        other = self._random.choice(self._corpus)
        start, _ = self._piece(other)
        case[self._place(case) :] = other[start:]

    def _truncate(self, case: bytearray) -> None:
        del case[self._place(case) :]

    def _insert_noise(self, case: bytearray) -> None:
        at = self._place(case)
        case[at:at] = self._random.randbytes(self._random.choice((1, 2, 4, 9)))
