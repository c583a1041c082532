"""Turns a header in the DICOM JSON Model into texts by path of keywords, for searching.

Invariant: texts follow from their header alone; what is remembered of earlier headers saves work
and is bounded. Pure but for that memory; it must not judge what a text means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from sys import getsizeof
from typing import Any, NamedTuple

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

# The tags are for searching; an enhanced CT repeats the same sixty elements for 2,000 frames, and
# the header holds all of them.
ITEMS_PER_SEQUENCE_MAX = 64
TAGS_MAX = 4_096
# What is remembered from header to header: 16 MiB at most, whatever senders make up. Texts count
# too: nested items repeat every keyword above them, so 2 KB of JSON can say 33 KB of paths.
REMEMBERED_TAGS_MAX, REMEMBERED_BYTES_MAX = 4_096, 4_096

_ELEMENT = re.compile(r"[0-9A-F]{8}\Z")

Header = Mapping[str, Any]


class _Known(NamedTuple):
    """An element as it came last, and what it says; `names` is a private creator's own text."""

    # Not the parsed element: 1, 1.0 and true are equal there.
    raw: bytes
    creator: str | None
    texts: Mapping[str, str]
    names: str | None


# A series repeats nearly all its elements. Any thread may replace an entry, and each holds all
# that its use depends on.
_LAST: dict[str, _Known] = {}


def tags_of(data_set: Header) -> dict[str, str]:
    """Text by path of keywords, in the order of the header, at most TAGS_MAX of them."""
    tags: dict[str, str] = {}
    creators: dict[str, str] = {}
    for tag, element in data_set.items():
        try:
            raw = orjson.dumps(element)
        except TypeError:  # deeper than it writes
            return _bounded_tags(data_set)
        # No call for an element that is as it was: 250 of them are half of what an index writes.
        known = _LAST.get(tag)
        if known is None or known.raw != raw or known.creator != creators.get(tag[:6]):
            known = _learned(tag, element, raw, creators)
        elif known.names is not None:
            creators[_block_of(tag)] = known.names
        tags.update(known.texts)
        if len(tags) > TAGS_MAX:
            return _bounded_tags(data_set)
    return tags


def _bounded_tags(data_set: Header) -> dict[str, str]:
    tags: dict[str, str] = {}
    for path, text in _walk(data_set, ""):
        tags[path] = text
        if len(tags) == TAGS_MAX:
            break
    return tags


def _learned(tag: str, element: object, raw: bytes, creators: dict[str, str]) -> _Known:
    """What an element of the data set itself says, for the next headers too if it is small."""
    creator = creators.get(tag[:6])
    texts = dict(_texts(tag, element, "", creators))
    names = creators.get(_block_of(tag)) if _is_creator(tag) else None
    known = _Known(raw, creator, texts, names)
    if _size_bytes(tag, known) <= REMEMBERED_BYTES_MAX:
        if len(_LAST) >= REMEMBERED_TAGS_MAX:
            _LAST.clear()
        _LAST[tag] = known
    return known


def _size_bytes(tag: str, known: _Known) -> int:
    texts = known.texts
    held = (tag, known, *known, *texts, *texts.values())
    return sum(map(getsizeof, held))


def _walk(data_set: Header, prefix: str) -> Iterator[tuple[str, str]]:
    creators: dict[str, str] = {}
    for tag, element in data_set.items():
        yield from _texts(tag, element, prefix, creators)


def _texts(
    tag: str, element: object, prefix: str, creators: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Every text in one element; a private creator is put into `creators` on the way."""
    values = element.get("Value") if isinstance(element, dict) else None
    if not values or not isinstance(element, dict) or not isinstance(values, list):
        return
    path = _public_path(tag) or _private_path(tag, creators)
    if path is None:
        return
    if element.get("vr") == "SQ":
        for index, item in enumerate(values[:ITEMS_PER_SEQUENCE_MAX]):
            if isinstance(item, dict):
                yield from _walk(item, f"{prefix}{path}.{index}.")
        return
    text = joined(values)
    if _is_creator(tag):
        creators[_block_of(tag)] = text
    if text:
        yield prefix + path, text


def _is_creator(tag: str) -> bool:
    # PS3.5 7.8.1; asked of tags alone.
    return tag[4:6] == "00" and tag[3] in "13579BDF"


def _block_of(creator: str) -> str:
    # What the tags begin with that it names.
    return creator[:4] + creator[6:]


def _private_path(tag: str, creators: Mapping[str, str]) -> str | None:
    """None for what is no tag at all."""
    if not _ELEMENT.match(tag):
        return None
    creator = creators.get(tag[:6])
    if creator is None:
        return _numeric(tag)
    return f"({tag[:4].lower()},{creator},{tag[6:].lower()})"


@lru_cache(maxsize=16_384)
def _public_path(tag: str) -> str | None:
    """None for a private tag, and for what is none."""
    if not _ELEMENT.match(tag) or int(tag[3], 16) % 2:
        return None
    number = int(tag, 16)
    keyword = keyword_for_tag(number)
    # Groups 50xx and 60xx repeat: sixteen overlays share one keyword, which names none of them.
    if keyword and tag_for_keyword(keyword) == number:
        return keyword
    return _numeric(tag)


def _numeric(tag: str) -> str:
    return f"({tag[:4].lower()},{tag[4:].lower()})"


def joined(values: Sequence[object]) -> str:
    """The values of one element as DICOM joins them; '' for what is no value."""
    # One text is what nearly every element has.
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return "\\".join(map(_value_text, values))


def _value_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):  # PN: the three component groups (PS3.5 6.2.1.1)
        groups = (value.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(g if isinstance(g, str) else "" for g in groups).rstrip("=")
    return str(value)
