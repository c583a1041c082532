"""What a kind of instance is: its names, its size, and who drafts its data set.

Invariant: a draft is a pure function of its order, so that the same order gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

Frame = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Size:
    """Of an image: rows and columns in pixels, and frames. All 0 where there is no image."""

    rows: int = 0
    columns: int = 0
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: a kind at a size, in 8 bits where the compression knows no more."""

    kind: Kind
    size: Size
    seed: int
    is_8_bit: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A data set without pixel data, and its frames, made one after the other when asked.

    `elements_min`: vendors' private elements are added until the data set has so many.
    """

    data_set: Dataset
    frames: Callable[[], Iterator[Frame]] | None = None
    elements_min: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """A modality's instance. `instances_per_study`: least and most, as hospitals see them."""

    name: str
    modality: str
    title: str
    sop_class_uid: str
    instances_per_study: tuple[int, int]
    draft: Callable[[Order], Draft]
    size: Size = Size()
    bits: int = 16
    samples: int = 1
    # Baseline JPEG knows 8 bits only: this kind is drafted with 8 where it is asked for.
    can_be_8_bit: bool = False

    @property
    def is_image(self) -> bool:
        """Whether there are pixels, and so compressions."""
        return self.size.rows > 0

    def sized(self, size: Size | None) -> Size:
        """`size` with the kind's own number where it says 0, the kind's size for None."""
        if size is None or not self.size.rows:
            return self.size
        return replace(
            size,
            rows=size.rows or self.size.rows,
            columns=size.columns or self.size.columns,
            frames=size.frames or self.size.frames,
        )

    def pixel_bytes(self, size: Size) -> int:
        """Bytes of the uncompressed pixel data."""
        return size.rows * size.columns * size.frames * self.samples * (self.bits // 8)
