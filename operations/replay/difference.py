"""The row-by-row difference between the index in use and its shadow.

Invariant: every column that `kinds` does not leave out is compared, in the engine and part by
part, so neither side is ever held in memory; what is listed names keys and columns, never values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.seams import Database
from operations.replay.kinds import KEYS, Kind

# Rows of a side that one statement compares: some 200 bytes of memory each, and headers of 14 KB
# are read within the time that a statement has.
PART_ROWS = 100_000
# Keys among which a view's parts are bounded.
SAMPLED_KEYS = 20_000
LISTED_MAX = 50  # keys of each view in the answer; the counts are always whole


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """One key of a view and how its two rows differ."""

    key: tuple[str, ...]
    what: str  # missing_in_live, missing_in_shadow or differs
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewDifference:
    """One view: rows on both sides, and how many keys differ in which way."""

    view: str
    live: int
    shadow: int
    missing_in_live: int
    missing_in_shadow: int
    differs: int
    listed: tuple[DifferingRow, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both sides tell the same."""
        return not (self.missing_in_live or self.missing_in_shadow or self.differs)


@dataclass(frozen=True, slots=True)
class _View:
    """A view of both databases and what of it is compared."""

    name: str
    live: str
    shadow: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    condition: str

    @property
    def parted_by(self) -> str:
        """What parts are ranges of: what its table is sorted by, so that a part reads no more.

        Sites have few gateways, so their receipts are parted by association.
        """
        return "association_id" if self.keys[0] == "gateway_id" else self.keys[0]


def difference(
    database: Database, live: str, shadow: str, kind: Kind, part_rows: int = PART_ROWS
) -> list[ViewDifference]:
    """Each view of `kind`, compared as it is now. Raises RetryableError, FatalError."""
    views = [_view(database, name, (live, shadow), kind) for name in kind.views]
    return [_compare(database, view, part_rows) for view in views]


def _view(database: Database, name: str, sides: tuple[str, str], kind: Kind) -> _View:
    left_out = kind.left_out.get(name, {})
    rows = database.query(
        "SELECT name FROM system.columns WHERE database = {database:String}"
        " AND table = {table:String} ORDER BY position",
        {"database": sides[0], "table": name},
    )
    keys = KEYS[name]
    columns = tuple(c for r in rows if (c := str(r["name"])) not in (*left_out, *keys))
    return _View(name, *sides, keys, columns, kind.rows.get(name, "1"))


def _compare(database: Database, view: _View, part_rows: int) -> ViewDifference:
    live, shadow = (_count(database, side, view) for side in (view.live, view.shadow))
    larger = view.live if live > shadow else view.shadow
    bounds = _bounds(database, view, larger, max(live, shadow) // part_rows + 1)
    counts = dict.fromkeys(("missing_in_live", "missing_in_shadow", "differs"), 0)
    listed: list[DifferingRow] = []
    for low, high in zip(["", *bounds], [*bounds, ""], strict=True):
        parameters = {"low": low, "high": high}
        (row,) = database.query(_counting(view), parameters)
        found = {name: int(str(row[name])) for name in counts}
        for name, number in found.items():
            counts[name] += number
        if any(found.values()) and len(listed) < LISTED_MAX:
            listed.extend(_listed(database, view, parameters, LISTED_MAX - len(listed)))
    return ViewDifference(view.name, live, shadow, **counts, listed=tuple(listed))


def _bounds(database: Database, view: _View, side: str, parts: int) -> list[str]:
    """Keys between the parts, about evenly apart."""
    if parts == 1:
        return []
    name = view.parted_by
    (row,) = database.query(f"SELECT uniq({name}) AS keys FROM {side}.{view.name}")
    sampled = database.query(
        f"SELECT toString({name}) AS bound FROM {side}.{view.name}"
        f" WHERE {name} != '' AND cityHash64({name}) % {{every:UInt64}} = 0"
        " GROUP BY bound ORDER BY bound",
        {"every": int(str(row["keys"])) // SAMPLED_KEYS + 1},
    )
    step = max(1, len(sampled) // parts)
    return [str(row["bound"]) for row in sampled[step::step]]


def _count(database: Database, side: str, view: _View) -> int:
    (row,) = database.query(
        f"SELECT count() AS rows FROM {side}.{view.name} WHERE {view.condition}"
    )
    return int(str(row["rows"]))


def _both(view: _View) -> str:
    """One row for each key that is not the same on both sides."""
    keys = ", ".join(view.keys)
    columns = ", ".join(view.columns)
    sides = " UNION ALL ".join(
        f"SELECT {keys}, {number} AS side, cityHash64(tuple({columns})) AS hash"
        f" FROM {name}.{view.name}"
        f" WHERE ({view.condition}) AND {view.parted_by} >= {{low:String}}"
        f" AND ({{high:String}} = '' OR {view.parted_by} < {{high:String}})"
        for number, name in enumerate((view.live, view.shadow))
    )
    return (
        f"SELECT {keys}, countIf(side = 0) AS in_live, countIf(side = 1) AS in_shadow"
        f" FROM ({sides}) GROUP BY {keys}"
        " HAVING in_live != 1 OR in_shadow != 1 OR min(hash) != max(hash)"
    )


def _counting(view: _View) -> str:
    return (
        "SELECT countIf(in_live = 0) AS missing_in_live,"
        " countIf(in_shadow = 0) AS missing_in_shadow,"
        f" countIf(in_live > 0 AND in_shadow > 0) AS differs FROM ({_both(view)})"
    )


def _listed(
    database: Database, view: _View, parameters: dict[str, str], limit: int
) -> Iterator[DifferingRow]:
    keys = ", ".join(view.keys)
    sql = f"SELECT * FROM ({_both(view)}) ORDER BY {keys} LIMIT {{limit:UInt32}}"
    for row in database.query(sql, {**parameters, "limit": limit}):
        key = tuple(str(row[name]) for name in view.keys)
        if not row["in_live"]:
            yield DifferingRow(key, "missing_in_live")
        elif not row["in_shadow"]:
            yield DifferingRow(key, "missing_in_shadow")
        else:
            yield DifferingRow(key, "differs", _differing_columns(database, view, row))


def _differing_columns(database: Database, view: _View, key: dict[str, Any]) -> tuple[str, ...]:
    condition = " AND ".join(f"toString({name}) = {{{name}:String}}" for name in view.keys)
    parameters = {name: str(key[name]) for name in view.keys}
    columns = ", ".join(view.columns)
    live, shadow = (
        database.query(f"SELECT {columns} FROM {side}.{view.name} WHERE {condition}", parameters)
        for side in (view.live, view.shadow)
    )
    if not live or not shadow:
        return ()  # it has changed since it was counted
    return tuple(name for name in view.columns if live[0][name] != shadow[0][name])
