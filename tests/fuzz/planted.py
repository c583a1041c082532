"""Defects of one line, planted to see whether the fuzzer finds them.

Invariant: a planted defect is gone when the block ends, whatever happens in it; a line that is no
longer there is an error and not a pass. Must not be used outside tests.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from edge_gateway.association import command_set, pdu
from edge_gateway.association.pdu_reader import PduReader
from edge_gateway.scan import assemble, charset, identify, values
from edge_gateway.scan.cursor import Cursor
from edge_gateway.scan.scope import Scope
from edge_gateway.scan.source import InflatedWindows
from edge_gateway.scan.walk import HeaderWalk
from tests.fuzz.target import Target
from tests.fuzz.targets import PDU, SCAN


@dataclass(frozen=True, slots=True)
class Defect:
    """`line` of `function` as it is, and `planted`, what stands there instead."""

    name: str
    target: Target
    function: Callable[..., Any]
    line: str
    planted: str


DEFECTS = (
    Defect(
        "a PDV may be longer than its PDU",
        PDU,
        pdu.fragments,
        "if length < 2 or finish > end:",
        "if length < 2:",
    ),
    Defect(
        "a PDV loses its last byte",
        PDU,
        pdu.fragments,
        "data=body[position + PDV_HEADER_BYTES : finish],",
        "data=body[position + PDV_HEADER_BYTES : finish - 1],",
    ),
    Defect(
        "any number of transfer syntaxes is read",
        PDU,
        pdu._proposed_context,
        "elif item_type == 0x40 and len(transfer_syntaxes) < SYNTAXES_READ_MAX:",
        "elif item_type == 0x40:",
    ),
    Defect(
        "an item may reach beyond what holds it",
        PDU,
        pdu._items,
        "if finish > end:",
        "if finish > end + 4:",
    ),
    Defect(
        "even context ids pass",
        PDU,
        pdu._check_contexts,
        "if any(identifier % 2 == 0 for identifier in identifiers):",
        "if any(identifier == 0 for identifier in identifiers):",
    ),
    Defect(
        "a declared PDU length is not checked",
        PDU,
        PduReader._header,
        "if length > self._length_max(pdu_type):",
        "if length < 0:",
    ),
    Defect(
        "a command set element may be cut short",
        PDU,
        command_set._elements,
        "if group != 0 or finish > end:",
        "if group != 0:",
    ),
    Defect(
        "the peer's maximum PDU length forgets the PDV header",
        PDU,
        pdu.encode_command,
        "limit = min(limit, peer_pdu_bytes_max - PDV_HEADER_BYTES)",
        "limit = min(limit, peer_pdu_bytes_max)",
    ),
    Defect(
        "nesting has no limit",
        SCAN,
        HeaderWalk._items,
        "if scope.depth >= self._limits.depth_max:",
        "if scope.depth < 0:",
    ),
    Defect(
        "attribute tags are little endian in every encoding",
        SCAN,
        values._tags,
        """halves = struct.unpack(f"{'>' if is_big_endian else '<'}{len(value) // 2}H", value)""",
        """halves = struct.unpack(f"<{len(value) // 2}H", value)""",
    ),
    Defect(
        "inflating has no limit",
        SCAN,
        InflatedWindows._keep_from,
        "if self._base + len(self._buffer) > self._bytes_max:",
        "if self._bytes_max < 0:",
    ),
    Defect(
        "the memo forgets which character set",
        SCAN,
        Scope.use,
        "self.table = self.memo.table((encoding.name, self.charset, signedness))",
        "self.table = self.memo.table((encoding.name, signedness))",
    ),
    Defect(
        "the memo forgets which private creator",
        SCAN,
        Scope.observe,
        "self._learn((tag, name))",
        "self._learn(tag)",
    ),
    Defect(
        "a known element may reach out of its item",
        SCAN,
        Cursor.known_explicit,
        "stop = min(end - base, len(buffer), at + WINDOW_BYTES)",
        "stop = min(len(buffer), at + WINDOW_BYTES)",
    ),
    Defect(
        "the JSON has no budget",
        SCAN,
        Cursor.count,
        "or self._json_bytes > self.limits.json_bytes_max",
        "or self._json_bytes < 0",
    ),
    Defect(
        "the first character set is not active again behind a line's end",
        SCAN,
        charset.CharacterSet._decode_fragment,
        "cut = reset.start() if reset else len(body)",
        "cut = len(body)",
    ),
    Defect(
        "of a repeated attribute both stay",
        SCAN,
        assemble.in_order,
        "return [by_tag[key] for key in sorted(by_tag)], len(by_tag) == len(fragments)",
        "return sorted(fragments), len(by_tag) == len(fragments)",
    ),
    Defect(
        "the receive path reads a UID one byte short",
        SCAN,
        identify._search,
        'text = data[value_at:position].decode("latin-1").strip("\\0 ")',
        'text = data[value_at : position - 1].decode("latin-1").strip("\\0 ")',
    ),
)


@contextmanager
def planted(defect: Defect) -> Iterator[None]:
    """The product has this defect while the block runs. Raises LookupError: the line moved."""
    function = inspect.unwrap(defect.function)
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(defect.line) != 1:
        raise LookupError(
            f"{function.__qualname__} has no line {defect.line!r}: "
            f"plant {defect.name!r} in tests/fuzz/planted.py where it went"
        )
    changed = source.replace(defect.line, defect.planted)
    names: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    code = compile(changed, function.__code__.co_filename, "exec", flags=flags)
    exec(code, function.__globals__, names)  # the product's own text, but for one line
    whole = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = whole
