"""Frames that compress as real ones do: a smooth body, edges, and a detector's noise.

Invariant: the same arguments give the same pixels. It must not cost more than a copy for frames
after the first: one field of noise is shifted from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from load.studies.kind import Frame, Size

_FIELD = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Grey:
    """A grey image: `air` outside the body, `tissue` inside, noise of that standard deviation
    inside (a quarter of it outside), clipped to `stored` bits."""

    air: float
    tissue: float
    noise: float
    stored: int


def grey_frames(size: Size, look: Grey, seed: int) -> Callable[[], Iterator[Frame]]:
    """A function that makes the frames anew each time, one after the other."""

    def frames() -> Iterator[Frame]:
        body, noise = _body(size, look), _noise(size, seed)
        weight = np.where(body > (look.air + look.tissue) / 2, look.noise, look.noise / 4)
        still = (body + noise * weight.astype(np.float32)).clip(0, 2**look.stored - 1)
        kept = still.astype(np.uint8 if look.stored <= 8 else np.uint16)
        for number in range(size.frames):
            # Row by row onward: the picture moves and no frame equals the one before it.
            yield np.roll(kept, 3 * number, axis=0)

    return frames


def colour_frames(size: Size, seed: int) -> Callable[[], Iterator[Frame]]:
    """An ultrasound fan of speckle in RGB, 8 bits, moving from frame to frame."""

    def frames() -> Iterator[Frame]:
        fan = _fan(size)
        speckle = np.abs(_noise(size, seed)) * 60 + 20
        for number in range(size.frames):
            grey = (np.roll(speckle, 2 * number, axis=0) * fan).clip(0, 255).astype(np.uint8)
            frame = np.repeat(grey[:, :, None], 3, axis=2)
            frame[-16:, :, :] = (24, 48, 96)
            yield frame

    return frames


def _body(size: Size, look: Grey) -> _FIELD:
    y = np.linspace(-1, 1, size.rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size.columns, dtype=np.float32)[None, :]
    inside = (x / 0.82) ** 2 + (y / 0.68) ** 2
    tissue = look.tissue * (1 + 0.06 * np.sin(5 * x) * np.cos(4 * y))
    picture = np.where(inside < 1, tissue, look.air)
    for centre_x, centre_y, radius, share in _ORGANS:
        within = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
        picture = np.where(within, look.tissue * share, picture)
    return picture.astype(np.float32)


# Where, how large and how bright beside the tissue: two lungs, a spine, a heart, a few vessels.
_ORGANS = (
    (-0.36, -0.05, 0.26, 0.25),
    (0.36, -0.05, 0.26, 0.25),
    (0.0, 0.45, 0.11, 1.5),
    (0.06, -0.12, 0.17, 1.06),
    (-0.3, 0.05, 0.03, 1.1),
    (0.3, 0.05, 0.03, 1.1),
)


def _fan(size: Size) -> _FIELD:
    y = np.linspace(0, 1, size.rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size.columns, dtype=np.float32)[None, :]
    depth = np.sqrt(x**2 + (y + 0.1) ** 2)
    is_inside = (np.abs(np.arctan2(x, y + 0.1)) < 0.65) & (depth < 1.0) & (depth > 0.15)
    return np.where(is_inside, 1.2 - depth, 0.0).astype(np.float32)


def _noise(size: Size, seed: int) -> _FIELD:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((size.rows, size.columns), dtype=np.float32)
