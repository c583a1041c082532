"""Compressed variants: valid, decodable, and the same pixels where they say lossless."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames, parse_basic_offsets

from load.studies import KINDS, compressions_of, templates, write_part10
from load.studies.compression import CODECS
from load.studies.validity import validity
from tests.load.study_files import (
    IMAGE_KINDS,
    MULTI_FRAME_KINDS,
    SMALL,
    SOMEBODY,
    assert_is,
    read_back,
    small_template,
)


def _jpeg_lossless(data: bytes) -> npt.NDArray[np.generic]:
    # Without a name for the colours the decoder would take three samples for YBR.
    frame_header = data.index(b"\xff\xc3")
    space = "RGB" if data[frame_header + 9] == 3 else None
    pixels: npt.NDArray[np.generic] = imagecodecs.jpeg8_decode(
        data, colorspace=space, outcolorspace=space
    )
    return pixels


DECODERS: dict[str, Callable[[bytes], npt.NDArray[np.generic]]] = {
    "jpeg": imagecodecs.jpeg8_decode,
    "jpeg-lossless": _jpeg_lossless,
    "jpeg-ls": imagecodecs.jpegls_decode,
    "j2k": imagecodecs.jpeg2k_decode,
    "j2k-lossy": imagecodecs.jpeg2k_decode,
    "htj2k": imagecodecs.htj2k_decode,
}
VARIANTS = [
    (kind, compression)
    for kind in IMAGE_KINDS
    for compression in compressions_of(KINDS[kind])
    if compression != "none"
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


def frames_of(data_set: Dataset, compression: str) -> npt.NDArray[np.generic]:
    """All frames, decoded, as (frames, rows, columns[, samples])."""
    count = int(data_set.get("NumberOfFrames", 1))
    if compression in ("none", "rle"):
        pixels: npt.NDArray[np.generic] = data_set.pixel_array
        return pixels if count > 1 else pixels[None]
    encoded = list(generate_frames(data_set.PixelData, number_of_frames=count))
    assert len(parse_basic_offsets(data_set.PixelData)) == len(encoded) == count
    return np.stack([DECODERS[compression](frame) for frame in encoded])


@pytest.mark.parametrize(("kind", "compression"), VARIANTS)
def test_a_compressed_variant_is_valid_and_decodes(
    kind: str, compression: str, cache: Path, tmp_path: Path
) -> None:
    template = small_template(kind, compression, cache)
    data_set = read_back(template, SOMEBODY, tmp_path)
    assert_is(data_set, SOMEBODY)
    codec = CODECS[compression]
    assert data_set.file_meta.TransferSyntaxUID == codec.transfer_syntax_uid
    frames = frames_of(data_set, compression)
    assert len(frames) == (SMALL.frames if kind in MULTI_FRAME_KINDS else 1)
    if codec.lossy_method:
        assert data_set.LossyImageCompression == "01"
        assert data_set.LossyImageCompressionRatio > 1
    else:
        raw = read_back(small_template(kind, "none", cache), SOMEBODY, tmp_path)
        assert np.array_equal(frames, frames_of(raw, "none"))
    path = tmp_path / "checked.dcm"
    write_part10(path, template, SOMEBODY)
    assert validity(path, template.transfer_syntax_uid).errors == ()


@pytest.mark.parametrize("kind", ["ct", "us-cine"])
@pytest.mark.parametrize(
    ("compression", "program"), [("jpeg-lossless", "dcmdjpeg"), ("jpeg-ls", "dcmdjpls")]
)
def test_dcmtk_decodes_the_same_pixels(
    kind: str, compression: str, program: str, cache: Path, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path, decoded = tmp_path / "in.dcm", tmp_path / "out.dcm"
    write_part10(path, small_template(kind, compression, cache), SOMEBODY)
    subprocess.run([program, str(path), str(decoded)], check=True, timeout=200)
    raw = read_back(small_template(kind, "none", cache), SOMEBODY, tmp_path)
    assert np.array_equal(dcmread(decoded).pixel_array, raw.pixel_array)


def test_a_ct_compresses_as_a_real_one_does(tmp_path: Path) -> None:
    raw = len(templates("ct", cache=tmp_path).data_set)
    for compression in ("jpeg-lossless", "jpeg-ls", "j2k", "htj2k"):
        share = len(templates("ct", compression, cache=tmp_path).data_set) / raw
        assert 0.40 <= share <= 0.50, compression
