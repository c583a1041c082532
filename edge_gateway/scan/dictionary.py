"""Value representations that the bytes do not say: public and private dictionaries (PS3.6).

Invariant: every tag gets a VR of two letters; what nobody knows is UN.
It must not read values, but for the three that decide an ambiguous VR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

UNKNOWN_VR = "UN"
LUT_DATA = 0x00283006


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """What decides between US, SS and OW where the dictionary leaves the choice (PS3.5 A.1)."""

    pixel_representation: int | None = None
    lut_entries: int | None = None


@lru_cache(maxsize=16_384)
def public_vr(tag: int) -> str | None:
    """The dictionary's VR, e.g. `CS` or `US or SS`; None for a tag it does not have."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UL" if tag & 0xFFFF == 0 else None


@lru_cache(maxsize=16_384)
def private_vr(tag: int, creator: str) -> str | None:
    """The VR of a private element under its private creator, where pydicom's tables have it."""
    try:
        return str(private_dictionary_VR(tag, creator))
    except (KeyError, ValueError):
        return None


def is_ambiguous(vr: str) -> bool:
    """Whether `vr` is a choice that the object itself must settle."""
    return len(vr) != 2


def settle(tag: int, vr: str, ambiguity: Ambiguity) -> str:
    """The VR in implicit VR encoding for a dictionary entry that offers several.

    US or SS follows Pixel Representation (unsigned where there is none); LUT Data is US when its
    descriptor counts one entry; everything that may be OW is OW (PS3.5 A.1).
    """
    if vr == "US or SS":
        return "SS" if ambiguity.pixel_representation == 1 else "US"
    if tag == LUT_DATA and ambiguity.lut_entries == 1:
        return "US"
    return "OW"
