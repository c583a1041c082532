"""Requests for storage commitment on disk, shared by the receive and the forward process.

Invariant: `put` returns only after a flush, so that an N-ACTION answered 0000 survives a power
loss; a report leaves the ledger only when its peer has taken it or its time is over. A ledger is
used by one thread; the processes' writes are ordered by SQLite. Must not know custody or DICOM.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import orjson

from edge_gateway.commitment.request import CommitmentRequest, Reference
from edge_gateway.commitment.schema import LEDGER_NAME, open_ledger
from edge_gateway.progress_rows import microseconds, moment

PROBLEM_CHARACTERS_MAX = 200
# Ended requests only tell what was; a peer that asks without end must not fill the disk with them.
ENDED_MAX = 100_000


class RequestState(StrEnum):
    """`open`: not decided; `reporting`: its report waits for the peer; the others are ends."""

    OPEN = "open"
    REPORTING = "reporting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class LedgerFull(Exception):
    """As many requests are open as the settings allow."""


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that is to be decided. `is_duplicate`: its UID was in use for other instances."""

    request_id: int
    ae_title: str
    transaction_uid: str
    references: tuple[Reference, ...]
    asked_at: datetime
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class DueReport:
    """A decided request; `failures` holds the Failure Reason by position in `references`."""

    request: OpenRequest
    failures: Mapping[int, int]
    decided_at: datetime
    tries: int


class CommitmentLedger:
    """The requests of one gateway."""

    def __init__(self, directory: Path) -> None:
        self._connection = open_ledger(directory / LEDGER_NAME)
        self._run = self._connection.execute

    def close(self) -> None:
        """Every method before has already committed."""
        self._connection.close()

    # -- the receive process

    def put(self, ae_title: str, request: CommitmentRequest, now: datetime, open_max: int) -> None:
        """The request is open and survives a power loss. Raises LedgerFull, sqlite3.Error.

        The same request once more is decided and reported once more; one that is still open goes
        on as it is, so that asking again does not put off its end.
        """
        references = orjson.dumps(
            [(r.sop_class_uid, r.sop_instance_uid) for r in request.references]
        )
        key = (ae_title, request.transaction_uid, request.digest)
        with self._batch():
            known = self._run(
                "SELECT state FROM request WHERE ae_title = ? AND transaction_uid = ?"
                " AND digest = ?",
                key,
            ).fetchone()
            if known is not None and known[0] == RequestState.OPEN:
                return
            if self._open_count() >= open_max:
                raise LedgerFull
            self._run(
                "INSERT INTO request (ae_title, transaction_uid, digest, is_duplicate,"
                " sop_references, asked_at, state) VALUES (?, ?, ?, ?, ?, ?, 'open')"
                " ON CONFLICT (ae_title, transaction_uid, digest) DO UPDATE SET"
                " state = 'open', sop_references = excluded.sop_references, failures = NULL,"
                " is_duplicate = excluded.is_duplicate, asked_at = excluded.asked_at,"
                " decided_at = NULL, ended_at = NULL, tries = 0, next_try_at = 0, problem = NULL",
                (*key, self._is_in_use(key), references, microseconds(now)),
            )

    def _open_count(self) -> int:
        row = self._run(
            "SELECT count(*) FROM request WHERE state IN ('open', 'reporting')"
        ).fetchone()
        return int(row[0])

    def _is_in_use(self, key: tuple[str, str, str]) -> bool:
        """Whether the transaction UID belongs to other instances that are not yet answered."""
        row = self._run(
            "SELECT 1 FROM request WHERE ae_title = ? AND transaction_uid = ? AND digest <> ?"
            " AND state IN ('open', 'reporting') AND NOT is_duplicate",
            key,
        ).fetchone()
        return row is not None

    # -- deciding

    def next_open(self, after_id: int) -> OpenRequest | None:
        """The first open request behind `after_id`."""
        row = self._run(
            "SELECT * FROM request WHERE state = 'open' AND request_id > ?"
            " ORDER BY request_id LIMIT 1",
            (after_id,),
        ).fetchone()
        return None if row is None else _request(row)

    def decide(self, request: OpenRequest, failures: Mapping[int, int], now: datetime) -> bool:
        """Open → reporting. False where it was asked again meanwhile: it is decided anew then."""
        cursor = self._change(
            "UPDATE request SET state = 'reporting', failures = ?, decided_at = ?, tries = 0,"
            " next_try_at = 0 WHERE request_id = ? AND state = 'open' AND asked_at = ?",
            (
                orjson.dumps(sorted(failures.items())),
                microseconds(now),
                request.request_id,
                microseconds(request.asked_at),
            ),
        )
        return cursor.rowcount > 0

    # -- reporting

    def due_peers(self, now: datetime) -> list[str]:
        """AE titles with a report that may be tried, the longest waiting first."""
        rows = self._run(
            "SELECT ae_title FROM request WHERE state = 'reporting' AND next_try_at <= ?"
            " GROUP BY ae_title ORDER BY min(next_try_at), min(request_id)",
            (microseconds(now),),
        )
        return [str(row[0]) for row in rows]

    def due(self, ae_title: str, now: datetime, limit: int) -> list[DueReport]:
        """Reports for one peer that may be tried now."""
        rows = self._run(
            "SELECT * FROM request WHERE state = 'reporting' AND ae_title = ?"
            " AND next_try_at <= ? ORDER BY request_id LIMIT ?",
            (ae_title, microseconds(now), limit),
        )
        return [
            DueReport(
                _request(row),
                dict(orjson.loads(row["failures"])),
                moment(row["decided_at"]),
                int(row["tries"]),
            )
            for row in rows
        ]

    def delivered(self, report: DueReport, now: datetime) -> None:
        """The peer has taken it; what it was about need not be kept."""
        self._end(report, RequestState.DELIVERED, now)

    def failed(self, report: DueReport, next_try_at: datetime, problem: str) -> None:
        """Not taken: tried again from `next_try_at` on."""
        self._change(
            "UPDATE request SET tries = tries + 1, next_try_at = ?, problem = ?"
            " WHERE request_id = ? AND state = 'reporting' AND decided_at = ?",
            (microseconds(next_try_at), _short(problem), *_identity(report)),
        )

    def give_up(self, report: DueReport, now: datetime) -> None:
        """Its time is over. The peer may ask again."""
        self._end(report, RequestState.GIVEN_UP, now)

    def _end(self, report: DueReport, state: RequestState, now: datetime) -> None:
        # `decided_at` tells this report from the one of a request that was asked again meanwhile.
        self._change(
            "UPDATE request SET state = ?, ended_at = ?, sop_references = NULL, failures = NULL"
            " WHERE request_id = ? AND state = 'reporting' AND decided_at = ?",
            (state.value, microseconds(now), *_identity(report)),
        )

    # -- what there is

    def counts(self) -> dict[RequestState, int]:
        """Requests by state."""
        rows = dict(self._run("SELECT state, count(*) FROM request GROUP BY state").fetchall())
        return {state: int(rows.get(state.value, 0)) for state in RequestState}

    def last_problem(self) -> str:
        """Why the report tried last was not taken; '' for none."""
        row = self._run(
            "SELECT ae_title, problem FROM request WHERE state = 'reporting'"
            " AND problem IS NOT NULL ORDER BY next_try_at DESC LIMIT 1"
        ).fetchone()
        return "" if row is None else f"{row[0]}: {row[1]}"

    def overdue(self, decided_before: datetime, limit: int) -> list[DueReport]:
        """Reports decided so long ago that they are given up, of any peer."""
        rows = self._run(
            "SELECT * FROM request WHERE state = 'reporting' AND decided_at < ? LIMIT ?",
            (microseconds(decided_before), limit),
        )
        return [
            DueReport(_request(row), {}, moment(row["decided_at"]), int(row["tries"]))
            for row in rows
        ]

    def forget(self, kept: timedelta, now: datetime, limit: int) -> int:
        """Drops requests that ended longer ago than `kept`, or ENDED_MAX ago; how many."""
        row = self._run(
            "SELECT ended_at FROM request WHERE ended_at IS NOT NULL"
            " ORDER BY ended_at DESC LIMIT 1 OFFSET ?",
            (ENDED_MAX,),
        ).fetchone()
        before = max(microseconds(now - kept), 0 if row is None else int(row[0]) + 1)
        return self._change(
            "DELETE FROM request WHERE request_id IN (SELECT request_id FROM request"
            " WHERE ended_at < ? LIMIT ?)",
            (before, limit),
        ).rowcount

    def _change(self, statement: str, values: Collection[object]) -> sqlite3.Cursor:
        with self._batch():
            return self._run(statement, tuple(values))

    @contextmanager
    def _batch(self) -> Iterator[None]:
        # IMMEDIATE: who reads first and writes then must not be refused for what came between.
        self._run("BEGIN IMMEDIATE")
        with self._connection:
            yield


def _request(row: sqlite3.Row) -> OpenRequest:
    return OpenRequest(
        int(row["request_id"]),
        str(row["ae_title"]),
        str(row["transaction_uid"]),
        tuple(Reference(*pair) for pair in orjson.loads(row["sop_references"])),
        moment(row["asked_at"]),
        bool(row["is_duplicate"]),
    )


def _identity(report: DueReport) -> tuple[int, int]:
    return report.request.request_id, microseconds(report.decided_at)


def _short(problem: str) -> str:
    return problem[:PROBLEM_CHARACTERS_MAX]
