"""Writes columns of maps whose pieces many rows share: each piece is serialised once a block.

Invariant: the bytes are those of ClickHouse's Native format for Map(LowCardinality(String),
String) and say what the driver's own would say of the same keys and texts; any other value is left
to the driver. It must not look at what the texts are.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.container import Map
from clickhouse_connect.datatypes.string import String
from clickhouse_connect.driver.ctypes import data_conv
from clickhouse_connect.driver.insert import InsertContext

from infra.map_pieces import PiecedMap

# SerializationLowCardinality: the keys' numbers have two bytes each, this block brings all keys.
_NUMBERS_OF_TWO_BYTES = 1
_HAS_ADDITIONAL_KEYS, _NEEDS_NEW_DICTIONARY = 1 << 9, 1 << 10
_ENCODING = "utf-8"
_LENGTH_OF_ONE_BYTE = 0x80

# How many texts, the numbers of their keys, the texts.
_Written: TypeAlias = tuple[int, bytes, bytes]


def with_pieces(column_types: Sequence[ClickHouseType]) -> Sequence[ClickHouseType]:
    """The same types, of which maps of texts take PiecedMap as well."""
    return [PiecedMapType(one.type_def) if _is_of_texts(one) else one for one in column_types]


class PiecedMapType(Map, registered=False):
    """Map(LowCardinality(String), String)."""

    def _data_size(self, sample: Collection[Any]) -> int:
        if not sample or not all(type(value) is PiecedMap for value in sample):
            return int(super()._data_size(sample))
        texts = (text for value in sample for piece in value.pieces for text in piece.values())
        # Three bytes a text beside it: its length and the number of its key.
        return sum(len(text) + 3 for text in texts) // len(sample)

    def write_column_data(self, column: Sequence[Any], dest: bytearray, ctx: InsertContext) -> None:
        """Appends the block's offsets, keys and texts."""
        block = _block(column) if _are_shared(column) else None
        if block is None:
            super().write_column_data([_whole(value) for value in column], dest, ctx)
        else:
            dest += block


def _are_shared(column: Sequence[object]) -> bool:
    """Whether there may be pieces that rows share: a piece alone is a row's own."""
    return all(type(value) is PiecedMap for value in column) and any(
        len(value.pieces) > 1 for value in column if isinstance(value, PiecedMap)
    )


def _whole(value: object) -> object:
    """What the driver takes as fast as a dict."""
    if not isinstance(value, PiecedMap):
        return value
    return value.pieces[0] if len(value.pieces) == 1 else dict(value)


def _block(column: Sequence[PiecedMap]) -> bytes | None:
    """None where there are more keys than two bytes can number."""
    keys: dict[str, int] = {}
    # By identity: the column holds the pieces, so none takes the place of another.
    known: dict[int, _Written] = {}
    ends, total = array("Q"), 0
    numbers: list[bytes] = []
    texts: list[bytes] = []
    try:
        for value in column:
            for piece in value.pieces:
                written = known.get(id(piece))
                if written is None:
                    written = known[id(piece)] = _written(piece, keys)
                total += written[0]
                numbers.append(written[1])
                texts.append(written[2])
            ends.append(total)
    except OverflowError:
        return None
    if not total:
        return ends.tobytes()
    flags = _NUMBERS_OF_TWO_BYTES | _HAS_ADDITIONAL_KEYS | _NEEDS_NEW_DICTIONARY
    dictionary = array("Q", (flags, len(keys))).tobytes() + _strings(keys)
    return b"".join((ends.tobytes(), dictionary, array("Q", (total,)).tobytes(), *numbers, *texts))


def _written(piece: Mapping[str, str], keys: dict[str, int]) -> _Written:
    """Raises OverflowError, and UnicodeEncodeError for what is no text."""
    if len(piece) == 1:
        ((key, text),) = piece.items()
        data = text.encode(_ENCODING)
        if len(data) < _LENGTH_OF_ONE_BYTE:
            number = keys.setdefault(key, len(keys)).to_bytes(2, "little")
            return 1, number, bytes((len(data),)) + data
    numbers = array("H", [keys.setdefault(key, len(keys)) for key in piece])
    return len(numbers), numbers.tobytes(), _strings(piece.values())


def _strings(texts: Iterable[str]) -> bytes:
    """Each with its length in front (LEB128)."""
    written = bytearray()
    data_conv.write_str_col(list(texts), False, _ENCODING, written)
    return bytes(written)


def _is_of_texts(one: ClickHouseType) -> bool:
    return (
        type(one) is Map
        and type(one.key_type) is String
        and one.key_type.wrappers == ("LowCardinality",)
        and type(one.value_type) is String
        and not one.value_type.wrappers
        and sys.byteorder == "little"
    )
