"""An encoded data set that becomes any instance of its kind by writing over a few places.

Invariant: stamping changes no length and nothing but the values of `places`; the template itself
is never changed. It must not encode: a sender stamps between two sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.failures import FatalError
from load.studies.identity import MARKER, Identity, Place

# Numbers are padded with spaces, which an encoder would strip: their markers fill the width.
_MARKED_NUMBERS = {
    Place.INSTANCE_NUMBER: "1736455470",
    Place.SLICE_LOCATION: "-86420975.310864",
}


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Template:
    """One encoded data set, without group 2, whose identity can be written over.

    `places` holds (place, offset, length) in rising offset; an attribute may stand in several
    places (evidence sequences name their own study again).
    """

    kind: str
    modality: str
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    places: tuple[tuple[Place, int, int], ...]

    @property
    def head_bytes(self) -> int:
        """Bytes up to the end of the last place; what follows is the same for all instances."""
        return max(offset + length for _, offset, length in self.places)


def marker_value(place: Place) -> str:
    """What a builder writes into the attribute of `place`, to be found by `find_places`."""
    return _MARKED_NUMBERS.get(place) or MARKER.value(place).decode("ascii")


def find_places(data_set: bytes) -> tuple[tuple[Place, int, int], ...]:
    """Every occurrence of a marker, in rising offset.

    Raises FatalError where an instance could not be told from another: a data set without the
    marker of a required attribute.
    """
    found = []
    for place in Place:
        marker = marker_value(place).encode("ascii")
        offset = data_set.find(marker)
        if offset < 0 and place is not Place.SLICE_LOCATION:
            raise FatalError(f"making a template: no {place.value} in the data set")
        while offset >= 0:
            found.append((place, offset, len(marker)))
            offset = data_set.find(marker, offset + len(marker))
    return tuple(sorted(found, key=lambda entry: entry[1]))


def stamp(template: Template, identity: Identity) -> bytearray:
    """The data set of that instance: a copy of the template with its places written."""
    buffer = bytearray(template.data_set)
    stamp_into(memoryview(buffer), template, identity)
    return buffer


def stamp_into(buffer: memoryview, template: Template, identity: Identity) -> None:
    """Writes the identity into `buffer`, which already holds the template's data set (or at
    least its first `head_bytes`)."""
    for place, offset, length in template.places:
        buffer[offset : offset + length] = identity.value(place)


def stamp_parts(template: Template, identity: Identity) -> tuple[bytearray, memoryview]:
    """The data set of that instance as two parts to be sent one after the other: its own head,
    and the rest of the template without a copy (a tomosynthesis has 80 MB of it)."""
    end = template.head_bytes
    head = bytearray(memoryview(template.data_set)[:end])
    stamp_into(memoryview(head), template, identity)
    return head, memoryview(template.data_set)[end:]
