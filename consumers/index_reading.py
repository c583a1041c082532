"""Reads headers one after another, and only what is new in each.

Invariant: what a header says follows from its text alone; what is remembered of earlier headers
saves work and is bounded. A header that is not written as the gateways write them (compact, tags
ascending) is parsed whole. Pure but for that memory; it must not judge what a text means.

A series repeats nearly all its elements, so they are compared as text where they stand, whole
stretches at once, and neither parsed nor written again (256 texts: 0.19 ms whole, 0.05 ms so).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json import JSONDecoder
from sys import getsizeof
from typing import Any, NamedTuple

import orjson

from consumers.index_columns import columns_of, has_column
from consumers.index_stretches import Known, Part, Stretch, elements_in, joined
from consumers.index_tags import (
    are_paths_distinct,
    block_of,
    bounded_tags,
    is_creator,
    plain_texts,
    texts_of,
)
from infra.map_pieces import PiecedMap

# The tags are for searching, and the header holds all of them.
TAGS_MAX = 4_096
# What is remembered: 16 MiB of elements, 4 MiB of changed values and 16 MiB of stretches at most,
# whatever senders make up. Texts count too: nested items repeat every keyword above them, so 2 KB
# of JSON can say 33 KB of paths.
REMEMBERED_TAGS_MAX, REMEMBERED_BYTES_MAX = 4_096, 4_096
STRETCHES_MAX, STRETCH_BYTES_MAX = 256, 64 * 1024
# Shorter ones cost more to look up than their elements do.
_STRETCH_ELEMENTS_MIN = 4
# Fewer texts are cheaper to write out again for each row than to be told apart.
_SHARED_TEXTS_MIN = 12
# "00100020": stands before the element's object.
_KEY_CHARACTERS = 11

# The tuple and its two dictionaries, and a column's value, which is a text of the element again.
_KNOWN_BYTES = 1_024
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_CHANGED_CHARACTERS_MAX = 256
_NO_COLUMNS: Mapping[str, object] = {}
_FLAT = re.compile(r'\{"vr":"[A-Z]{2}"(?:,"Value":\[[^][{}]*\])?\}')
# One text without escapes, or one integer: what nearly all elements are that differ within a
# series. They are read off without a parser, which takes no control characters nor surrogates.
_PLAIN = re.compile(
    r'\{"vr":"(?!SQ)[A-Z]{2}","Value":\['
    r'(?:"([^"\\\x00-\x1f\ud800-\udfff]*)"|(0|-?[1-9][0-9]{0,15}))\]\}'
)
_DECODER = JSONDecoder()


class Reading(NamedTuple):
    """`tags`: text by path of keywords, in the header's order, at most TAGS_MAX of them.

    `columns`: what became typed columns, by name; absent where the header says nothing.
    """

    tags: PiecedMap
    columns: dict[str, Any]


class _Unusual(Exception):
    """No header as the gateways write them."""


# By the tag they begin with. Any thread may replace an entry, and each holds all that its use
# depends on.
_LAST: dict[str, Known] = {}
# The last values of those that come with another one each time; no more than there are in _LAST.
_CHANGED: dict[str, str] = {}
_STRETCHES: dict[str, Stretch] = {}


def read(header: str) -> Reading:
    """What a header in the DICOM JSON Model says (PS3.18 Annex F); any text gives a reading."""
    try:
        reading = _Walk(header).read()
    except (_Unusual, ValueError, RecursionError):
        return _parsed(header)
    return reading if len(reading.tags) <= TAGS_MAX else _parsed(header)


class _Walk:
    """One pass over one header."""

    __slots__ = ("_columns", "_creators", "_header", "_own", "_pieces", "_run", "_run_bytes")

    def __init__(self, header: str) -> None:
        self._header = header
        self._pieces: list[Mapping[str, str]] = []
        self._columns: dict[str, Any] = {}
        self._creators: dict[str, str] = {}
        # The last of the pieces, if it is this header's alone.
        self._own: dict[str, str] | None = None
        # What is remembered and stands side by side, up to where the walk is.
        self._run: list[Part] = []
        self._run_bytes = 0

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
                self._lengthen(tag, stretch)
                self._say(stretch.texts)
                self._columns.update(stretch.columns)
                if stretch.names:
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
        self._end_run()
        return Reading(self._told(), self._columns)

    def _told(self) -> PiecedMap:
        pieces = self._pieces
        if self._creators and not are_paths_distinct(self._creators):
            merged: dict[str, str] = {}
            for piece in pieces:
                merged.update(piece)
            pieces = [merged]
        return PiecedMap(tuple(pieces))

    def _is_there(self, stretch: Stretch, at: int) -> bool:
        if not self._header.startswith(stretch.raw, at):
            return False
        named = self._creators.get
        # No generator: this is asked for every stretch of every header.
        for block, creator in stretch.needed.items():  # noqa: SIM110
            if named(block) != creator:
                return False
        return True

    def _element(self, tag: str, at: int) -> int:
        """Takes in the element that begins there; how many characters it has."""
        known = _LAST.get(tag)
        if known is None or known.creator != self._creators.get(tag[:6]):
            known = self._learn(tag, at)
        elif self._header.startswith(known.raw, at):
            self._lengthen(tag, known)
        elif characters := self._changed(tag, at, known):
            return characters
        else:
            known = self._learn(tag, at)
        if known.names is not None:
            self._creators[block_of(tag)] = known.names
        self._say(known.texts)
        if known.columns:
            self._columns.update(known.columns)
        return len(known.raw)

    def _changed(self, tag: str, at: int, known: Known) -> int:
        """Takes in an element of which the value alone is another than last time.

        How many characters it has; 0 where it is not one, or stands still again and is worth
        remembering.
        """
        header, opening = self._header, known.opening
        if not opening or not header.startswith(opening, at):
            return 0
        begin = at + len(opening)
        is_text = opening[-1] == '"'
        closing = '"]}' if is_text else "]}"
        end = header.find(closing, begin, begin + _CHANGED_CHARACTERS_MAX)
        text = header[begin:end]
        is_plain = _is_plain_text(text) if is_text else _INTEGER.fullmatch(text)
        if end <= begin or not is_plain or _CHANGED.get(tag) == text:
            return 0
        _CHANGED[tag] = text
        self._end_run()
        self._say(dict.fromkeys(known.texts, text))
        if has_column(tag):
            self._columns.update(columns_of(tag, {"Value": [text if is_text else int(text)]}))
        return end + len(closing) - at

    def _learn(self, tag: str, at: int) -> Known:
        """What an element says, remembered for the next headers if it is small."""
        self._end_run()
        header, begin = self._header, at + _KEY_CHARACTERS
        if header[at : at + 1] != '"' or header[at + 9 : begin] != '":':
            raise _Unusual
        plain = None if is_creator(tag) else _PLAIN.match(header, begin)
        if plain is None:
            known = self._parsed_element(tag, at, begin)
        else:
            known = self._plain_element(tag, at, plain)
        if known.size_bytes <= REMEMBERED_BYTES_MAX:
            if len(_LAST) >= REMEMBERED_TAGS_MAX:
                _LAST.clear()
                _CHANGED.clear()
            _LAST[tag] = known
        return known

    def _plain_element(self, tag: str, at: int, plain: re.Match[str]) -> Known:
        raw, text = self._header[at : plain.end()], plain[1]
        value: object = text
        if text is None:
            text = plain[2]
            value = int(text)
        texts = plain_texts(tag, text, self._creators)
        columns = columns_of(tag, {"Value": [value]}) if has_column(tag) else _NO_COLUMNS
        size_bytes = _KNOWN_BYTES + sum(map(getsizeof, (raw, text, *texts)))
        opening = raw[: plain.start(plain.lastindex or 0) - at] if texts else ""
        creator = self._creators.get(tag[:6])
        return Known(raw, creator, texts, columns, None, size_bytes, opening)

    def _parsed_element(self, tag: str, at: int, begin: int) -> Known:
        header = self._header
        end = _end_of_element(header, begin)
        raw, element = header[at:end], orjson.loads(header[begin:end])
        creators = self._creators.copy()
        texts = dict(texts_of(tag, element, "", creators))
        names = creators.get(block_of(tag)) if is_creator(tag) else None
        columns = columns_of(tag, element)
        size_bytes = _KNOWN_BYTES + sum(map(getsizeof, (raw, *texts, *texts.values())))
        return Known(raw, self._creators.get(tag[:6]), texts, columns, names, size_bytes)

    def _say(self, texts: Mapping[str, str]) -> None:
        if len(texts) >= _SHARED_TEXTS_MIN:
            self._pieces.append(texts)
            self._own = None
        elif texts:
            own = self._own
            if own is None:
                own = self._own = {}
                self._pieces.append(own)
            own.update(texts)

    def _lengthen(self, tag: str, part: Known | Stretch) -> None:
        if self._run_bytes + part.size_bytes > STRETCH_BYTES_MAX:
            self._end_run()
        self._run.append((tag, part))
        self._run_bytes += part.size_bytes

    def _end_run(self) -> None:
        """Remembers as one stretch what was remembered in parts."""
        run, self._run, self._run_bytes = self._run, [], 0
        if len(run) < 2 or elements_in(run) < _STRETCH_ELEMENTS_MIN:
            return
        if len(_STRETCHES) >= STRETCHES_MAX:
            _STRETCHES.clear()
        _STRETCHES[run[0][0]] = joined(run)


def _is_plain_text(text: str) -> bool:
    """Whether it stands in JSON as it is; what is not surely so goes to a parser."""
    return text.isprintable() and '"' not in text and "\\" not in text


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
    return Reading(PiecedMap((bounded_tags(data_set, TAGS_MAX),)), columns)
