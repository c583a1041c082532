"""Texts of elements in the DICOM JSON Model by path of keywords, for searching.

Invariant: texts follow from their data set alone. Pure; it must not judge what a text means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

# An enhanced CT repeats the same sixty elements for 2,000 frames.
ITEMS_PER_SEQUENCE_MAX = 64

_ELEMENT = re.compile(r"[0-9A-F]{8}\Z")
_ODD = frozenset("13579BDF")

Header = Mapping[str, Any]


def bounded_tags(data_set: Header, tags_max: int) -> dict[str, str]:
    """Text by path of keywords, in the order of the header, at most `tags_max` of them."""
    tags: dict[str, str] = {}
    for path, text in _walk(data_set, ""):
        tags[path] = text
        if len(tags) == tags_max:
            break
    return tags


def texts_of(
    tag: str, element: object, prefix: str, creators: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """(path, text) of all that is in one element.

    A private creator is put into `creators` on the way, by what the tags begin with that it names.
    """
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
    if is_creator(tag):
        creators[block_of(tag)] = text
    if text:
        yield prefix + path, text


def plain_texts(tag: str, text: str, creators: Mapping[str, str]) -> dict[str, str]:
    """`texts_of` an element whose one value reads as `text`; no private creator."""
    path = _public_path(tag) or _private_path(tag, creators)
    return {path: text} if path and text else {}


def are_paths_distinct(creators: Mapping[str, str]) -> bool:
    """Whether no two elements of a header with these private creators share a path.

    A keyword names one tag. "(gggg,creator,ee)" names one too, if its creator is the only one of
    the group and does not itself end the path.
    """
    groups = {block[:4] for block in creators}
    return len(groups) == len(creators) and not any(")" in name for name in creators.values())


def is_private(tag: str) -> bool:
    """Whether the group is odd (PS3.5 7.8)."""
    return tag[3] in _ODD


def is_creator(tag: str) -> bool:
    """Whether the element names who owns a block of private elements (PS3.5 7.8.1)."""
    return tag[4:6] == "00" and tag[3] in _ODD


def block_of(creator: str) -> str:
    """What the tags begin with that this creator names."""
    return creator[:4] + creator[6:]


def _walk(data_set: Header, prefix: str) -> Iterator[tuple[str, str]]:
    creators: dict[str, str] = {}
    for tag, element in data_set.items():
        yield from texts_of(tag, element, prefix, creators)


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
