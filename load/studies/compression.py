"""Compressed variants of the image kinds, each frame one fragment (PS3.5 A.4).

Invariant: a lossless variant gives back the same pixels; a lossy one says so and how much
(PS3.3 C.7.6.1.1.5). It must not run while anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import imagecodecs
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from contracts.failures import FatalError
from load.studies.kind import Draft, Frame, Kind
from load.studies.modules import fill

NONE = "none"
_JPEG_QUALITY = 90
# Peak signal to noise in dB: a CT to a sixth of its bytes, a DX to a 25th.
_JPEG_2000_LEVEL = 57
_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Codec:
    """One transfer syntax. `encode` takes a frame and its bits stored.

    `lossy_method` is empty for a lossless one; `colour` is what RGB becomes inside.
    """

    transfer_syntax_uid: str
    encode: Callable[[Frame, int], bytes]
    colour: str = "RGB"
    lossy_method: str = ""


def _jpeg(frame: Frame, stored: int) -> bytes:
    subsampling = "422" if frame.ndim == 3 else None
    return bytes(imagecodecs.jpeg8_encode(frame, _JPEG_QUALITY, subsampling=subsampling))


def _jpeg_lossless(frame: Frame, stored: int) -> bytes:
    # Predictor 1 is what SV1 means (PS3.5 8.2.1); RGB stays RGB, for YBR would not come back.
    space = "RGB" if frame.ndim == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            frame,
            lossless=True,
            predictor=1,
            bitspersample=stored,
            colorspace=space,
            outcolorspace=space,
        )
    )


def _jpeg_ls(frame: Frame, stored: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(frame))


def _jpeg_2000(frame: Frame, stored: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame, codecformat="j2k", reversible=True, bitspersample=stored, numthreads=1
        )
    )


def _jpeg_2000_lossy(frame: Frame, stored: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame,
            _JPEG_2000_LEVEL,
            codecformat="j2k",
            reversible=False,
            bitspersample=stored,
            numthreads=1,
        )
    )


def _high_throughput(frame: Frame, stored: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True))


def _run_length(frame: Frame, stored: int) -> bytes:
    is_colour = frame.ndim == 3
    planes: dict[str, Any] = {"planar_configuration": 0} if is_colour else {}
    return get_encoder(RLELossless).encode(
        frame,
        encoding_plugin="pydicom",
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples_per_pixel=3 if is_colour else 1,
        number_of_frames=1,
        bits_allocated=8 * frame.itemsize,
        bits_stored=stored,
        pixel_representation=0,
        photometric_interpretation="RGB" if is_colour else "MONOCHROME2",
        **planes,
    )


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "jpeg": Codec(str(JPEGBaseline8Bit), _jpeg, "YBR_FULL_422", "ISO_10918_1"),
        "jpeg-lossless": Codec(str(JPEGLosslessSV1), _jpeg_lossless),
        "jpeg-ls": Codec(str(JPEGLSLossless), _jpeg_ls),
        "j2k": Codec(str(JPEG2000Lossless), _jpeg_2000, "YBR_RCT"),
        "j2k-lossy": Codec(str(JPEG2000), _jpeg_2000_lossy, "YBR_ICT", "ISO_15444_1"),
        "htj2k": Codec(str(HTJ2KLossless), _high_throughput, "YBR_RCT"),
        "rle": Codec(str(RLELossless), _run_length),
    }
)


def compressions_of(kind: Kind) -> tuple[str, ...]:
    """What that kind can be compressed with, "none" first; only that where there is no image."""
    if not kind.is_image:
        return (NONE,)
    can_be_8_bit = kind.bits == 8 or kind.can_be_8_bit
    return (NONE, *(name for name in CODECS if name != "jpeg" or can_be_8_bit))


def compress(draft: Draft, codec: Codec) -> bytes:
    """The encapsulated pixel data element, and `draft.data_set` says what was done to it.

    Raises FatalError where the draft has no frames.
    """
    if draft.frames is None:
        raise FatalError("compressing a synthetic instance: it has no frames")
    data_set, raw_bytes, frames = draft.data_set, 0, []
    for frame in draft.frames():
        raw_bytes += frame.nbytes
        frames.append(codec.encode(frame, data_set.BitsStored))
    _describe(data_set, codec, raw_bytes / sum(map(len, frames)))
    header = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
    return header + encapsulate(frames, has_bot=True) + _DELIMITER


def _describe(data_set: Dataset, codec: Codec, ratio: float) -> None:
    if data_set.SamplesPerPixel == 3:
        data_set.PhotometricInterpretation = codec.colour
    if codec.lossy_method:
        fill(
            data_set,
            LossyImageCompression="01",
            LossyImageCompressionRatio=f"{ratio:.2f}",
            LossyImageCompressionMethod=codec.lossy_method,
        )
