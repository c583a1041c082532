"""Specific Character Set (0008,0005) to text (PS3.3 C.12.1.1.2, PS3.5 6.1).

Invariant: any bytes decode to text that JSON can carry; what a declared set cannot decode becomes
U+FFFD, the bytes themselves are in the archived object.
It must not log or raise over a value: values are patient data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Latin-1 for the default repertoire, not ASCII: bytes that nobody declared stay recoverable.
DEFAULT_CODEC = "latin-1"
_ESCAPE = b"\x1b"
_FRAGMENT = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
# After these the first character set is active again (PS3.5 6.1.2.5.3).
_RESET = re.compile(rb"[\r\n\t\f]")

# Numbers of "ISO_IR n" and "ISO 2022 IR n" (PS3.3 tables C.12-2 to C.12-4).
_CODEC_OF_REGISTRATION = {
    "6": DEFAULT_CODEC,
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin-1",
    "101": "iso8859-2",
    "109": "iso8859-3",
    "110": "iso8859-4",
    "126": "iso8859-7",
    "127": "iso8859-6",
    "138": "iso8859-8",
    "144": "iso8859-5",
    "148": "iso8859-9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso8859-11",
    "192": "utf-8",
    "203": "iso8859-15",
}
_ALONE = {"GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk", "ISO 2022 58": "gb2312"}
# No code extensions beside these (PS3.3 C.12.1.1.2).
_STAND_ALONE_CODECS = {"utf-8", "gb18030", "gbk"}
_REGISTRATION = re.compile(r"ISO[ _-]*(?:2022[ _-]*)?IR[ _-]*([0-9]+)")

_CODEC_OF_ESCAPE = {
    b"\x1b(B": DEFAULT_CODEC,
    b"\x1b-A": "latin-1",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b-B": "iso8859-2",
    b"\x1b-C": "iso8859-3",
    b"\x1b-D": "iso8859-4",
    b"\x1b-F": "iso8859-7",
    b"\x1b-G": "iso8859-6",
    b"\x1b-H": "iso8859-8",
    b"\x1b-L": "iso8859-5",
    b"\x1b-M": "iso8859-9",
    b"\x1b-T": "iso8859-11",
    b"\x1b-b": "iso8859-15",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "gb2312",
}
# Python's codecs read these escape sequences themselves.
_STATEFUL_CODECS = {"iso2022_jp", "iso2022_jp_2"}


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The Python codecs of a (0008,0005) value; the first is active without escape sequences."""

    codecs: tuple[str, ...] = (DEFAULT_CODEC,)

    def decode(self, value: bytes) -> str:
        """`value` as text; never raises."""
        if _ESCAPE not in value:
            return value.decode(self.codecs[0], "replace")
        return "".join(map(self._decode_fragment, _FRAGMENT.findall(value)))

    def _decode_fragment(self, fragment: bytes) -> str:
        escape = fragment[: 4 if fragment[:3] in (b"\x1b$(", b"\x1b$)") else 3]
        codec = _CODEC_OF_ESCAPE.get(escape, "")
        if codec != DEFAULT_CODEC and codec not in self.codecs:
            # Not an escape sequence of a declared set: kept as it is, nothing is lost.
            return fragment.decode(self.codecs[0], "replace")
        if codec in _STATEFUL_CODECS:
            return fragment.decode(codec, "replace")
        body = fragment[len(escape) :]
        reset = _RESET.search(body)
        cut = reset.start() if reset else len(body)
        rest = body[cut:].decode(self.codecs[0], "replace")
        return body[:cut].decode(codec, "replace") + rest


DEFAULT_CHARACTER_SET = CharacterSet()


@lru_cache(maxsize=256)
def character_set(value: bytes) -> CharacterSet:
    """The character set that a (0008,0005) value declares; unknown terms count as the default.

    Spellings that devices send (`ISO IR 192`, `iso_ir 100`) are read as what they mean.
    """
    codecs = [_codec_of_term(term) for term in value.decode("latin-1").split("\\")]
    if codecs[0] in _STAND_ALONE_CODECS:
        return CharacterSet((codecs[0],))
    kept = [codec for codec in codecs if codec not in _STAND_ALONE_CODECS]
    # Doubles say nothing; dropping them bounds the number of different sets.
    return CharacterSet(tuple(dict.fromkeys(kept)))


def _codec_of_term(term: str) -> str:
    term = term.strip(" \0").upper()
    alone = _ALONE.get(term)
    if alone is not None:
        return alone
    registered = _REGISTRATION.fullmatch(term)
    return _CODEC_OF_REGISTRATION.get(registered[1], DEFAULT_CODEC) if registered else DEFAULT_CODEC
