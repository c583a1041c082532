"""The statements by which an index counts custody, content by content, inside ClickHouse.

Invariant: each witness is a table of its own, and only what they disagree about leaves the engine.
A content is known by 64 bits of its SOP Instance UID and sha256: among ten million, one that is
lost is overlooked once in 10^12. Reads only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntFlag

from consumers.announce import chunks
from infra.seams import Database
from operations.custody_sources import SUCCESS, Content

# One field of a request holds 128 KiB at most (ClickHouse's http_max_field_value_size).
VALUES_MAX = 5_000
CONTENTS_PER_STATEMENT_MAX = 50_000
# Of a sha256: 80 bits, in a list that is as short as it can be. A pack's key ends with its own.
_DIGITS = 20
_KEY_ENDING = len(".tar") + 64
_DIGITS_OF_CONTENT = f"substring(content_sha256, 1, {_DIGITS})"
# Stretches of studies by which two sites are compared: some 600 contents each at ten million.
SLICES = 16_384
_OF_CONTENT = "study_instance_uid, sop_instance_uid, content_sha256"
_SLICE = (
    "cityHash64(if(study_instance_uid = '', sop_instance_uid, study_instance_uid))"
    f" % {SLICES} AS slice"
)
# 128 bits (sipHash128) took 2.5 times as long: three quarters of it were the hashing.
_CONTENT = "cityHash64(sop_instance_uid, content_sha256)"


class Witness(IntFlag):
    """Who knows a content."""

    ACKNOWLEDGED = 1
    ARCHIVED = 2
    QUARANTINED = 4
    INDEXED = 8


# What needs no further question, whatever the deliveries were.
ARCHIVED_WHOLE = Witness.ACKNOWLEDGED | Witness.ARCHIVED | Witness.INDEXED
QUARANTINED_WHOLE = Witness.ACKNOWLEDGED | Witness.QUARANTINED
REGULAR = (ARCHIVED_WHOLE, QUARANTINED_WHOLE)


def named_packs(database: Database) -> dict[str, int]:
    """Every pack that an index names, with the bytes that its members reach to.

    Raises RetryableError, FatalError.
    """
    rows = database.query(
        "SELECT object_key, max(offset_bytes + length_bytes) AS reach FROM archived"
        " GROUP BY object_key UNION ALL"
        " SELECT l.1 AS object_key, max(l.3 + l.4) AS reach FROM delivery_rows"
        " ARRAY JOIN locations AS l WHERE area = 'quarantine' GROUP BY l.1"
    )
    return {str(row["object_key"]): _int(row["reach"]) for row in rows}


class IndexQueries:
    """One site's index, asked as of `started_at`; packs under the keys `gone` count as not there.

    Every method raises RetryableError, FatalError.
    """

    def __init__(self, database: Database, started_at: datetime, gone: Collection[str]) -> None:
        self._database = database
        self._gone = _OfKeys(gone)
        # As text: the driver leaves the fraction of a second away.
        at = f"{started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
        self._parameters: dict[str, object] = {"at": at, **self._gone.parameters}

    def contents_by_witness(self) -> dict[Witness, int]:
        """How many contents each combination of witnesses knows."""
        rows = self._ask(
            f"SELECT witnesses, count() AS contents FROM ({self._by_content()}) GROUP BY witnesses"
        )
        return {Witness(_int(row["witnesses"])): _int(row["contents"]) for row in rows}

    def irregular(self, part: int, parts: int) -> dict[Content, Witness]:
        """Contents whose witnesses are none of REGULAR, of one of so many equal parts."""
        regular = ", ".join(str(int(one)) for one in REGULAR)
        odd = (
            f"SELECT content FROM ({self._by_content()}) WHERE witnesses NOT IN ({regular})"
            " AND content % {parts:UInt32} = {part:UInt32}"
        )
        return self._witnesses(
            f"({self._told()}) WHERE content IN ({odd})", {"part": part, "parts": parts}
        )

    def witnesses_of(self, contents: Collection[Content]) -> dict[Content, Witness]:
        """Who knows each of these; one that nobody knows is left out."""
        found: dict[Content, Witness] = {}
        for some, among in _lists_of(contents):
            told = self._told(among.holds(_DIGITS_OF_CONTENT))
            known = self._witnesses(f"({told})", among.parameters)
            found |= {content: known[content] for content in some if content in known}
        return found

    def _witnesses(self, told: str, parameters: Mapping[str, object]) -> dict[Content, Witness]:
        rows = self._ask(
            f"SELECT sop_instance_uid, content_sha256, groupBitOr(witness) AS witnesses FROM {told}"
            " GROUP BY sop_instance_uid, content_sha256",
            parameters,
        )
        return {_content(row): Witness(_int(row["witnesses"])) for row in rows}

    def whole_among(self, contents: Collection[Content]) -> set[Content]:
        """Those of these contents that are archived and indexed."""
        whole = Witness.ARCHIVED | Witness.INDEXED
        known = self.witnesses_of(contents)
        return {content for content, witnesses in known.items() if whole in witnesses}

    def deliveries_of(self, contents: Collection[Content]) -> Iterator[Mapping[str, object]]:
        """Each delivery of these contents, with `keys`: its packs less those that are gone.

        By their hashes and merged here: with `FINAL` and a filter on 1,500 UIDs nearly all
        granules of all columns were read, which took minutes.
        """
        for some, among in _lists_of(contents):
            for row in self._ask(
                "SELECT delivery_id, sop_instance_uid, content_sha256,"
                " max(response_status) AS status, min(answered_at) AS answered,"
                " min(received_at) AS received, max(area) AS kept_in, max(size_bytes) AS size,"
                f" arrayFilter(k -> NOT ({self._gone.holds('k')}),"
                " arrayMap(l -> l.1, groupUniqArrayArray(locations))) AS keys"
                f" FROM delivery_rows WHERE {among.holds(_DIGITS_OF_CONTENT)}"
                " GROUP BY delivery_id, sop_instance_uid, content_sha256",
                among.parameters,
            ):
                if _content(row) in some:
                    yield row

    def acknowledged_deliveries(self) -> int:
        """Deliveries that were answered with success; a page that was told twice counts once."""
        (row,) = self._ask(
            f"SELECT count() AS deliveries FROM receipt_rows FINAL WHERE {_ACKNOWLEDGED}"
        )
        return _int(row["deliveries"])

    def redundant_bytes(self) -> int:
        """What contents of the archive take beyond their first copy."""
        of_archived = f"FROM archived WHERE {self._is_there()}"
        several = f"SELECT {_CONTENT} AS c {of_archived} GROUP BY c HAVING count() > 1"
        (row,) = self._ask(f"SELECT count() AS contents FROM ({several})")
        if not _int(row["contents"]):
            return 0
        (row,) = self._ask(
            f"WITH several AS ({several})"
            " SELECT sum((copies - 1) * size) AS bytes FROM"
            f" (SELECT {_CONTENT} AS c, uniqExact(delivery_id, object_key) AS copies"
            f" {of_archived} AND c IN (SELECT c FROM several) GROUP BY c) AS a INNER JOIN"
            f" (SELECT {_CONTENT} AS c, max(size_bytes) AS size FROM received"
            " WHERE c IN (SELECT c FROM several) GROUP BY c) AS i USING (c)"
        )
        return _int(row["bytes"])

    def slices(self, table: str) -> dict[int, tuple[int, int]]:
        """Contents of `archived` or `instance_rows` by slice: how many, and the sum of hashes."""
        rows = self._ask(
            "SELECT slice, count() AS contents, sum(content) AS digest FROM"
            f" (SELECT DISTINCT {_SLICE}, {_CONTENT} AS content FROM {self._kept(table)})"
            " GROUP BY slice"
        )
        return {_int(r["slice"]): (_int(r["contents"]), _int(r["digest"])) for r in rows}

    def contents_in(self, table: str, slices: Sequence[int]) -> set[Content]:
        """Every content of `archived` or `instance_rows` in some slices."""
        rows = self._ask(
            f"SELECT sop_instance_uid, content_sha256, {_SLICE} FROM {self._kept(table)}"
            " WHERE slice IN {slices:Array(UInt32)}",
            {"slices": list(slices)},
        )
        return {_content(row) for row in rows}

    def _kept(self, table: str) -> str:
        is_there = self._is_there() if table == "archived" else "1"
        return f"(SELECT {_OF_CONTENT} FROM {table} WHERE {is_there})"

    def _by_content(self) -> str:
        return (
            f"SELECT content, groupBitOr(witness) AS witnesses FROM ({self._told()})"
            " GROUP BY content"
        )

    def _told(self, condition: str = "1") -> str:
        """A row for each time that a witness names a content."""
        in_quarantine = (
            f"area = 'quarantine' AND arrayExists(k -> NOT ({self._gone.holds('k')}),"
            " arrayMap(l -> tupleElement(l, 'object_key'), locations))"
        )
        told = (
            (Witness.ACKNOWLEDGED, "receipt_rows", _ACKNOWLEDGED),
            (Witness.ARCHIVED, "archived", self._is_there()),
            (Witness.QUARANTINED, "delivery_rows", in_quarantine),
            (Witness.INDEXED, "instance_rows", "1"),
        )
        return " UNION ALL ".join(
            f"SELECT sop_instance_uid, content_sha256, {_CONTENT} AS content,"
            f" toUInt8({int(witness)}) AS witness FROM {table}"
            f" WHERE ({true_if}) AND ({condition})"
            for witness, table, true_if in told
        )

    def _is_there(self) -> str:
        return f"NOT ({self._gone.holds('object_key')})"

    def _ask(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        # The driver takes `%` for its own where none of the parameters is used.
        all_of_them = {**self._parameters, **(parameters or {})}
        used = {name: v for name, v in all_of_them.items() if f"{{{name}:" in sql}
        return self._database.query(sql, used)


_ACKNOWLEDGED = (
    f"status = {SUCCESS} AND content_sha256 != '' AND answered_at <= {{at:DateTime64(6, 'UTC')}}"
)


class _Among:
    """A condition that holds for the values of a list of any length."""

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self.parameters: dict[str, object] = {
            f"{name}{number}": part for number, part in enumerate(chunks(values, VALUES_MAX))
        }

    def holds(self, value: str) -> str:
        """The condition on an expression."""
        lists = [f"{value} IN {{{name}:Array(String)}}" for name in self.parameters]
        return " OR ".join(lists) or "0"


class _OfKeys(_Among):
    """The same for the keys of packs."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__("gone", sorted({key[-_KEY_ENDING:][:_DIGITS] for key in keys}))

    def holds(self, value: str) -> str:
        """The condition on an expression that gives a key."""
        return super().holds(f"substring({value}, -{_KEY_ENDING}, {_DIGITS})")


def _lists_of(contents: Collection[Content]) -> Iterator[tuple[set[Content], _Among]]:
    """These contents in parts, each with the condition on the digits of its hashes."""
    for some in chunks(sorted(contents), CONTENTS_PER_STATEMENT_MAX):
        yield set(some), _Among("wanted", sorted({sha256[:_DIGITS] for _, sha256 in some}))


def _content(row: Mapping[str, object]) -> Content:
    return str(row["sop_instance_uid"]), str(row["content_sha256"])


def _int(value: object) -> int:
    return int(str(value))
