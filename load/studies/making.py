"""From a kind's name to its template: drafted, encoded and cached.

Invariant: the same kind, compression, size and seed give the same template on every machine with
the same libraries; a change of what is drafted raises GENERATOR_VERSION.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from weakref import WeakValueDictionary

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from contracts.failures import FatalError
from load.studies.cache import read_template, write_template
from load.studies.compression import CODECS, NONE, compress, compressions_of
from load.studies.kind import Draft, Kind, Order, Size
from load.studies.kinds import kind_named, known
from load.studies.modules import add_vendor_elements
from load.studies.template import Template, find_places

# Part of every cache key: what an older generator made is never taken for this one's.
GENERATOR_VERSION = 2
DEFAULT_SEED = 1
# Twice the largest tomosynthesis; a template is held in memory whole.
PIXEL_BYTES_MAX = 1 << 30

# One object for one template while anybody holds it: 80 MB of tomosynthesis once, not per caller.
_living: WeakValueDictionary[Path, Template] = WeakValueDictionary()


def templates(
    kind: str,
    compression: str = "none",
    *,
    cache: Path,
    size: Size | None = None,
    seed: int = DEFAULT_SEED,
) -> Template:
    """The template of that kind, made on first use and read from `cache` afterwards.

    `size` overrides the kind's own (0 keeps a number). Raises FatalError for an unknown kind or a
    compression the kind has not, naming the nearest match, and for a size out of bounds.
    """
    chosen = kind_named(kind)
    known(compression, compressions_of(chosen), f"compression of {kind}")
    wanted = _bounded(chosen, chosen.sized(size))
    path = cache / (
        f"{GENERATOR_VERSION}-{kind}-{compression}"
        f"-{wanted.rows}x{wanted.columns}x{wanted.frames}-{seed}.template"
    )
    template = _living.get(path) or read_template(path)
    if template is None:
        template = _make(Order(chosen, wanted, seed, is_8_bit=compression == "jpeg"), compression)
        write_template(path, template)
    _living[path] = template
    return template


def _bounded(kind: Kind, size: Size) -> Size:
    if min(size.rows, size.columns, size.frames) < 0 or kind.pixel_bytes(size) > PIXEL_BYTES_MAX:
        raise FatalError(
            f"making a template: {size.frames} frames of {size.rows} × {size.columns} of"
            f" {kind.name} are no size",
            f"stay below {PIXEL_BYTES_MAX >> 20} MiB of pixels",
        )
    return size


def _make(order: Order, compression: str) -> Template:
    draft = order.kind.draft(order)
    if compression == NONE:
        transfer_syntax_uid, pixels = str(ExplicitVRLittleEndian), _pixel_element(draft)
    else:
        codec = CODECS[compression]
        transfer_syntax_uid, pixels = codec.transfer_syntax_uid, [compress(draft, codec)]
    # After the pixels: a lossy codec adds to the header what it did.
    add_vendor_elements(draft.data_set, draft.elements_min, order.seed)
    header = encode(draft.data_set)
    return Template(
        kind=order.kind.name,
        modality=order.kind.modality,
        sop_class_uid=order.kind.sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        data_set=b"".join((header, *pixels)),
        places=find_places(header),
    )


def encode(data_set: Dataset) -> bytes:
    """The data set in Explicit VR Little Endian."""
    buffer = BytesIO()
    file = DicomIO(buffer)
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, data_set)
    return buffer.getvalue()


def _pixel_element(draft: Draft) -> list[bytes]:
    # By hand, behind the encoded rest, and in pieces that are joined once: pydicom would hold a
    # large image three times.
    if draft.frames is None:
        return []
    frames = [frame.tobytes() for frame in draft.frames()]
    size_bytes = sum(map(len, frames))
    vr = b"OW" if draft.data_set.BitsAllocated > 8 else b"OB"
    length = (size_bytes + size_bytes % 2).to_bytes(4, "little")
    header = b"\xe0\x7f\x10\x00" + vr + b"\x00\x00" + length
    return [header, *frames, bytes(size_bytes % 2)]
