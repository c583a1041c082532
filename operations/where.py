"""`hilum where`: every state of an image with its time, from the spool to the second site.

Invariant: answers come from ClickHouse and the topics; a site that is offline is shown by its
last word and that word's age, never guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contracts.events import GatewayState
from contracts.topics import GATEWAY_STATE
from infra.connect import Engines
from infra.seams import Database
from operations.custody_sources import gateway_states

STATES = ("spooled", "published", "archived", "indexed", "replicated")
DELIVERIES_MAX = 100_000
_COLUMNS = """
    delivery_id, study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256, site,
    gateway_id, calling_ae_title, called_ae_title, status, spooled_at, published_at, archived_at,
    indexed_at, replicated_at, quarantine_reason, area, object_key, size_bytes
"""


@dataclass(frozen=True, slots=True)
class GatewayWord:
    """The last thing a gateway said of itself, and how long ago."""

    gateway_id: str
    site: str
    name: str
    said_at: datetime
    age_s: float
    unarchived: int
    reason: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of everything a key names. `deliveries` are rows of `hilum.deliveries`."""

    key: str
    found_as: str
    deliveries: tuple[dict[str, Any], ...]
    contents: int
    complete: int
    states: dict[str, dict[str, Any]]
    gateways: tuple[GatewayWord, ...]
    sources: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether something was found and all of it has reached every state."""
        return bool(self.deliveries) and self.complete == len(self.deliveries)


def where(engines: Engines, key: str) -> Whereabouts:
    """Finds a key as Study, Series or SOP Instance UID, accession number, or delivery id.

    Raises RetryableError (ClickHouse or Kafka cannot be asked), FatalError.
    """
    found_as, rows = find_deliveries(engines.primary.database, key)
    return Whereabouts(
        key=key,
        found_as=found_as,
        deliveries=tuple(rows),
        contents=len({(row["sop_instance_uid"], row["content_sha256"]) for row in rows}),
        complete=sum(_is_complete(row) for row in rows),
        states={state: _summary(rows, f"{state}_at") for state in STATES},
        gateways=tuple(_words(gateway_states(engines.settings.kafka))),
        sources={
            "deliveries": (
                f"ClickHouse {engines.primary.name}: {engines.primary.database.name}.deliveries"
            ),
            "gateways": f"topic {GATEWAY_STATE.name}, each gateway's last word",
        },
    )


def find_deliveries(database: Database, key: str) -> tuple[str, list[dict[str, Any]]]:
    """As what a key is known ("nothing", if it is not), and its rows of `hilum.deliveries`.

    Raises RetryableError, FatalError.
    """
    for found_as, condition in (
        ("study", "study_instance_uid = {key:String}"),
        ("instance", "sop_instance_uid = {key:String}"),
        ("series", "series_instance_uid = {key:String}"),
        ("accession number", "accession_number = {key:String}"),
        ("delivery", "delivery_id = {key:String}"),
    ):
        rows = database.query(
            f"SELECT {_COLUMNS} FROM deliveries WHERE {condition} "
            f"ORDER BY spooled_at, delivery_id LIMIT {DELIVERIES_MAX}",
            {"key": key},
        )
        if rows:
            return found_as, rows
    return "nothing", []


def _is_complete(row: dict[str, Any]) -> bool:
    if row["area"] == "quarantine":
        return row["archived_at"] is not None
    return all(row[f"{state}_at"] is not None for state in STATES)


def _summary(rows: list[dict[str, Any]], column: str) -> dict[str, Any]:
    times = [row[column] for row in rows if row[column] is not None]
    return {
        "deliveries": len(times),
        "first_at": min(times, default=None),
        "last_at": max(times, default=None),
    }


def _words(states: dict[str, GatewayState]) -> list[GatewayWord]:
    now = datetime.now(UTC)
    return [
        GatewayWord(
            gateway_id=state.gateway_id,
            site=state.site,
            name=state.gateway_name,
            said_at=state.at,
            age_s=round((now - state.at).total_seconds(), 1),
            unarchived=sum(
                total.deliveries
                for total in state.totals
                if total.state in ("spooled", "published")
            ),
            reason=state.reason,
        )
        for state in sorted(states.values(), key=lambda state: (state.site, state.gateway_name))
    ]
