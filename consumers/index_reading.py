"""Reads headers one after another, and only what is new in each.

Invariant: what a header says follows from its text alone; what is remembered of earlier headers
saves work and is bounded. A header that is not written as the gateways write them (compact, tags
ascending) is parsed whole. Pure but for that memory; it must not judge what a text means.

A series repeats nearly all its elements, so they are compared as text where they stand, whole
stretches at once, and neither parsed nor written again (254 elements: 0.19 ms : 0.07 ms).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecoder
from sys import getsizeof
from typing import Any, NamedTuple

import orjson

from consumers.index_columns import columns_of
from consumers.index_tags import block_of, bounded_tags, is_creator, is_private, texts_of

# The tags are for searching, and the header holds all of them.
TAGS_MAX = 4_096
# What is remembered: 16 MiB of elements and 16 MiB of stretches at most, whatever senders make
# up. Texts count too: nested items repeat every keyword above them, so 2 KB of JSON can say 33 KB
# of paths.
REMEMBERED_TAGS_MAX, REMEMBERED_BYTES_MAX = 4_096, 4_096
STRETCHES_MAX, STRETCH_BYTES_MAX = 256, 64 * 1024
# Shorter ones cost more to look up than their elements do.
_STRETCH_ELEMENTS_MIN = 4
# "00100020": stands before the element's object.
_KEY_CHARACTERS = 11

# The tuple and its two dictionaries, and a column's value, which is a text of the element again.
_KNOWN_BYTES = 1_024
_FLAT = re.compile(r'\{"vr":"[A-Z]{2}"(?:,"Value":\[[^][{}]*\])?\}')
_DECODER = JSONDecoder()


@dataclass(frozen=True, slots=True)
class Reading:
    """`tags`: text by path of keywords, in the header's order, at most TAGS_MAX of them.

    `columns`: what became typed columns, by name; absent where the header says nothing.
    """

    tags: dict[str, str]
    columns: dict[str, Any]


class _Known(NamedTuple):
    """An element as it came last, and what it says; `names` is a private creator's own text."""

    raw: str
    creator: str | None
    texts: Mapping[str, str]
    columns: Mapping[str, object]
    names: str | None
    size_bytes: int


class _Stretch(NamedTuple):
    """Elements that stood side by side unchanged, as one text."""

    raw: str
    last_tag: str
    texts: dict[str, str]
    columns: dict[str, object]
    # Private creators by the block they name: those it depends on, and those it has.
    needed: dict[str, str | None]
    names: dict[str, str]


class _Unusual(Exception):
    """No header as the gateways write them."""


# By the tag they begin with. Any thread may replace an entry, and each holds all that its use
# depends on.
_LAST: dict[str, _Known] = {}
_STRETCHES: dict[str, _Stretch] = {}


def read(header: str) -> Reading:
    """What a header in the DICOM JSON Model says (PS3.18 Annex F); any text gives a reading."""
    try:
        reading = _Walk(header).read()
    except (_Unusual, ValueError, RecursionError):
        return _parsed(header)
    return reading if len(reading.tags) <= TAGS_MAX else _parsed(header)


class _Walk:
    """One pass over one header."""

    __slots__ = ("_columns", "_creators", "_header", "_stretch", "_stretch_bytes", "_tags")

    def __init__(self, header: str) -> None:
        self._header = header
        self._tags: dict[str, str] = {}
        self._columns: dict[str, Any] = {}
        self._creators: dict[str, str] = {}
        # Remembered elements side by side, up to where the walk is.
        self._stretch: list[tuple[str, _Known]] = []
        self._stretch_bytes = 0

    def read(self) -> Reading:
        header, at, before = self._header, 1, ""
        if header[:1] != "{":
            raise _Unusual
        while True:
            tag = header[at + 1 : at + 9]
            # Ascending, so none comes twice, where a parser would take the last.
            if tag <= before:
                raise _Unusual
            stretch = _STRETCHES.get(tag)
            if stretch is not None and self._is_there(stretch, at):
                self._end_stretch()
                self._tags.update(stretch.texts)
                self._columns.update(stretch.columns)
                self._creators.update(stretch.names)
                at, before = at + len(stretch.raw), stretch.last_tag
            else:
                at, before = at + self._element(tag, at), tag
            ending = header[at : at + 1]
            if ending != ",":
                break
            at += 1
        if ending != "}" or at + 1 != len(header):
            raise _Unusual
        self._end_stretch()
        return Reading(self._tags, self._columns)

    def _is_there(self, stretch: _Stretch, at: int) -> bool:
        return self._header.startswith(stretch.raw, at) and all(
            self._creators.get(block) == creator for block, creator in stretch.needed.items()
        )

    def _element(self, tag: str, at: int) -> int:
        """Takes in the element that begins there; how many characters it has."""
        known = _LAST.get(tag)
        if (
            known is None
            or not self._header.startswith(known.raw, at)
            or known.creator != self._creators.get(tag[:6])
        ):
            self._end_stretch()
            known = self._learn(tag, at)
        else:
            if self._stretch_bytes + known.size_bytes > STRETCH_BYTES_MAX:
                self._end_stretch()
            self._stretch.append((tag, known))
            self._stretch_bytes += known.size_bytes
        if known.names is not None:
            self._creators[block_of(tag)] = known.names
        self._tags.update(known.texts)
        self._columns.update(known.columns)
        return len(known.raw)

    def _learn(self, tag: str, at: int) -> _Known:
        """What an element says, remembered for the next headers if it is small."""
        header, begin = self._header, at + _KEY_CHARACTERS
        if header[at : at + 1] != '"' or header[at + 9 : begin] != '":':
            raise _Unusual
        end = _end_of_element(header, begin)
        raw, element = header[at:end], orjson.loads(header[begin:end])
        creators = self._creators.copy()
        texts = dict(texts_of(tag, element, "", creators))
        names = creators.get(block_of(tag)) if is_creator(tag) else None
        columns = columns_of(tag, element)
        size_bytes = _KNOWN_BYTES + sum(map(getsizeof, (raw, *texts, *texts.values())))
        known = _Known(raw, self._creators.get(tag[:6]), texts, columns, names, size_bytes)
        if size_bytes <= REMEMBERED_BYTES_MAX:
            if len(_LAST) >= REMEMBERED_TAGS_MAX:
                _LAST.clear()
            _LAST[tag] = known
        return known

    def _end_stretch(self) -> None:
        stretch, self._stretch, self._stretch_bytes = self._stretch, [], 0
        if len(stretch) < _STRETCH_ELEMENTS_MIN:
            return
        if len(_STRETCHES) >= STRETCHES_MAX:
            _STRETCHES.clear()
        _STRETCHES[stretch[0][0]] = _joined(stretch)


def _joined(elements: Sequence[tuple[str, _Known]]) -> _Stretch:
    raw = ",".join(known.raw for _, known in elements)
    joined = _Stretch(raw, elements[-1][0], {}, {}, {}, {})
    for tag, known in elements:
        joined.texts.update(known.texts)
        joined.columns.update(known.columns)
        if is_private(tag) and tag[:6] not in joined.names:
            joined.needed[tag[:6]] = known.creator
        if known.names is not None:
            joined.names[block_of(tag)] = known.names
    return joined


def _end_of_element(header: str, begin: int) -> int:
    """Where the element's object ends. Raises ValueError where it is none."""
    # A bracket inside a text would end it early, in the middle of that text: no parser takes it.
    flat = _FLAT.match(header, begin)
    return flat.end() if flat else _DECODER.raw_decode(header, begin)[1]


def _parsed(header: str) -> Reading:
    try:
        data_set = orjson.loads(header)
    except ValueError:
        data_set = {}
    if not isinstance(data_set, dict):
        data_set = {}
    columns: dict[str, Any] = {}
    for tag, element in data_set.items():
        columns.update(columns_of(tag, element))
    return Reading(bounded_tags(data_set, TAGS_MAX), columns)
