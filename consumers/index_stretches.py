"""What is remembered of headers: single elements, and stretches of them as one text.

Invariant: a stretch says what its parts say one after another, and where it depends on a private
creator before it, it names it. Pure; it must not decide what is worth remembering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from consumers.index_tags import block_of, is_private


class Known(NamedTuple):
    """An element as it came last, and what it says; `names` is a private creator's own text.

    `opening` is what stands before the value of an element that has one text or one integer.
    """

    raw: str
    creator: str | None
    texts: Mapping[str, str]
    columns: Mapping[str, object]
    names: str | None
    size_bytes: int
    opening: str = ""


class Stretch(NamedTuple):
    """Elements that stood side by side unchanged, as one text."""

    raw: str
    last_tag: str
    texts: dict[str, str]
    columns: dict[str, object]
    # Private creators by the block they name: those it depends on, and those it has.
    needed: dict[str, str | None]
    names: dict[str, str]
    elements: int
    size_bytes: int


# With the tag it begins with.
Part: TypeAlias = tuple[str, Known | Stretch]


def elements_in(run: Sequence[Part]) -> int:
    """How many elements they are."""
    return sum(part.elements if isinstance(part, Stretch) else 1 for _, part in run)


def joined(run: Sequence[Part]) -> Stretch:
    """The parts as one."""
    texts: dict[str, str] = {}
    columns: dict[str, object] = {}
    needed: dict[str, str | None] = {}
    names: dict[str, str] = {}
    for tag, part in run:
        texts.update(part.texts)
        columns.update(part.columns)
        wanted, has = _creators_of(tag, part)
        needed.update({block: name for block, name in wanted.items() if block not in names})
        names.update(has)
    last_tag, last = run[-1]
    return Stretch(
        ",".join(part.raw for _, part in run),
        last.last_tag if isinstance(last, Stretch) else last_tag,
        texts,
        columns,
        needed,
        names,
        elements_in(run),
        sum(part.size_bytes for _, part in run),
    )


def _creators_of(
    tag: str, part: Known | Stretch
) -> tuple[Mapping[str, str | None], Mapping[str, str]]:
    """Private creators by the block they name: those it depends on, and those it has."""
    if isinstance(part, Stretch):
        return part.needed, part.names
    needed = {tag[:6]: part.creator} if is_private(tag) else {}
    return needed, {} if part.names is None else {block_of(tag): part.names}
