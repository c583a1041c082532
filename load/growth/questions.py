"""What people ask an index, with keys drawn from what was filled.

Invariant: a question is asked as an analyst or `hilum where` asks it, of the product's own views,
and its time is from the call to the last row in our hands. Keys repeat as little as there are keys.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from infra.seams import Database
from load.growth.archive import DATES, FIRST_DATE, Study, study
from load.growth.index import large_study
from operations.custody_queries import IndexQueries, named_packs
from operations.where import find_deliveries

PAGE_ROWS = 100
DATE_RANGE = timedelta(days=7)
# 05-performance: the study lists, and the metadata of a study of 1,000 instances.
LIST_GOAL_S, METADATA_GOAL_S = 0.050, 0.200

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Keys:
    """From what keys are drawn: the filled studies, and the large ones with full headers."""

    seed: int
    studies: int
    large_studies: int

    def study(self, generator: random.Random) -> Study:
        """Any filled study."""
        return study(self.seed, generator.randrange(self.studies))

    def large_study(self, generator: random.Random) -> Study:
        """Any of the large ones."""
        return large_study(self.seed, generator.randrange(self.large_studies))


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """One question: its seconds, one for each key asked."""

    name: str
    seconds: tuple[float, ...]
    rows_median: float


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `ask` draws its own key and answers all rows. `goal_s` 0: none is set."""

    name: str
    title: str
    ask: Callable[[Database, Keys, random.Random], Callable[[], Rows]]
    goal_s: float = 0.0
    # Of what reads whole tables, few times are enough.
    asked_max: int = 1_000


def ask_all(
    database: Database, keys: Keys, generator: random.Random, asked: int
) -> tuple[QueryTimes, ...]:
    """Every question `asked` times. Raises RetryableError, FatalError."""
    draw = partial(_draw, database=database, keys=keys, generator=generator)
    return tuple(_asked(question, draw, asked) for question in QUESTIONS)


def _asked(
    question: Question, draw: Callable[[Question], Callable[[], Rows]], asked: int
) -> QueryTimes:
    seconds, rows = [], []
    for _ in range(min(asked, question.asked_max)):
        ask = draw(question)
        began = time.perf_counter()
        rows.append(len(ask()))
        seconds.append(time.perf_counter() - began)
    return QueryTimes(
        name=question.name, seconds=tuple(seconds), rows_median=sorted(rows)[len(rows) // 2]
    )


def _draw(
    question: Question, database: Database, keys: Keys, generator: random.Random
) -> Callable[[], Rows]:
    return question.ask(database, keys, generator)


def _query(
    sql: str, parameters: Callable[[Keys, random.Random], dict[str, object]]
) -> Callable[[Database, Keys, random.Random], Callable[[], Rows]]:
    def drawn(database: Database, keys: Keys, generator: random.Random) -> Callable[[], Rows]:
        values = parameters(keys, generator)
        return lambda: database.query(sql, values)

    return drawn


def _dates(_: Keys, generator: random.Random) -> dict[str, object]:
    first = FIRST_DATE + timedelta(days=generator.randrange(DATES - DATE_RANGE.days))
    return {"first": first.isoformat(), "last": (first + DATE_RANGE).isoformat()}


def _where(database: Database, keys: Keys, generator: random.Random) -> Callable[[], Rows]:
    one = keys.study(generator)
    uid = one.content(generator.randrange(one.instances)).sop_instance_uid
    return lambda: find_deliveries(database, uid)[1]


def _custody(database: Database, _: Keys, __: random.Random) -> Callable[[], Rows]:
    """What `hilum verify` asks the index of one site where nothing is amiss."""

    def count() -> Rows:
        queries = IndexQueries(database, datetime.now(UTC), ())
        packs = named_packs(database)
        contents = sum(queries.contents_by_witness().values())
        counted = (len(packs), contents, queries.acknowledged_deliveries())
        sliced = queries.slices("archived"), queries.slices("instance_rows")
        return [{"counted": counted, "redundant": queries.redundant_bytes(), "sliced": sliced}]

    return count


QUESTIONS = (
    Question(
        "studies_by_patient",
        "study list by Patient ID",
        _query(
            "SELECT * FROM studies WHERE patient_id = {patient:String} ORDER BY study_date DESC",
            lambda keys, generator: {"patient": keys.study(generator).patient_id},
        ),
        LIST_GOAL_S,
    ),
    Question(
        "studies_by_date",
        f"study list of {DATE_RANGE.days + 1} days, the first {PAGE_ROWS}",
        _query(
            "SELECT * FROM studies WHERE study_date BETWEEN {first:Date32} AND {last:Date32}"
            f" ORDER BY study_date DESC, study_instance_uid LIMIT {PAGE_ROWS}",
            _dates,
        ),
        LIST_GOAL_S,
    ),
    Question(
        "studies_by_accession",
        "study list by accession number",
        _query(
            "SELECT * FROM studies WHERE accession_number = {accession:String}",
            lambda keys, generator: {"accession": keys.study(generator).accession_number},
        ),
        LIST_GOAL_S,
    ),
    Question(
        "metadata_1000",
        "metadata (all elements) of a study of 1,000 instances",
        _query(
            "SELECT sop_instance_uid, header FROM instances"
            " WHERE study_instance_uid = {uid:String}",
            lambda keys, generator: {"uid": keys.large_study(generator).study_instance_uid},
        ),
        METADATA_GOAL_S,
    ),
    Question("where_sop", "hilum where, one SOP Instance UID", _where),
    Question(
        "deliveries_of_study",
        "deliveries of a study",
        _query(
            "SELECT * FROM deliveries WHERE study_instance_uid = {uid:String}",
            lambda keys, generator: {"uid": keys.study(generator).study_instance_uid},
        ),
    ),
    Question(
        "conflicts",
        f"conflicts, the newest {PAGE_ROWS}",
        _query(
            f"SELECT * FROM conflicts ORDER BY last_received_at DESC LIMIT {PAGE_ROWS}",
            lambda _keys, _generator: {},
        ),
    ),
    Question("custody", "hilum verify, what it asks an index", _custody, asked_max=3),
)
