"""The shadow: a second index database beside the one in use, and how far it is filled.

Invariant: positions are kept in the shadow itself and saved after the rows they stand for, so a
shadow is filled on from where it was cut off and never beyond. It must not touch the index in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from contracts.failures import FatalError
from infra.clickhouse import ClickHouseDatabase
from infra.migrate import migrate, pending
from infra.settings import ClickHouseSettings

SUFFIX = "_shadow"
BEFORE = "_before_"
_POSITIONS = """
CREATE TABLE IF NOT EXISTS replay_positions
(
    source String,
    place String COMMENT 'topic/partition, or the object key of a pack',
    position Int64 COMMENT 'the next offset; 1 for a pack that is indexed',
    saved_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(position)
ORDER BY (source, place)
COMMENT 'How far this shadow is filled'
"""


class Shadow:
    """The shadow of one site's index. `database` is the shadow, `live` the index in use."""

    def __init__(self, live: ClickHouseSettings) -> None:
        self._settings = live.model_copy(update={"database": live.database + SUFFIX})
        self.live_name = live.database
        self.name = self._settings.database
        self.database = ClickHouseDatabase(self._settings)
        # Statements about databases that may not exist have to be sent to one that does.
        self.server = ClickHouseDatabase(live.model_copy(update={"database": "system"}))
        self._live = live
        self._source = ""

    def open(self, source: str) -> None:
        """On return the shadow has all tables and is, or goes on being, filled from `source`.

        Raises FatalError (it is being filled from another source; the index in use is of another
        version), RetryableError.
        """
        if not self.has_tables(self.live_name):
            raise FatalError(
                f"there is no index in the database {self.live_name}", "run `hilum up` first"
            )
        if missing := pending(self._live):
            raise FatalError(
                f"the database {self.live_name} has not had migration {missing[0]}",
                "run `hilum up` with this version first",
            )
        migrate(self._settings)
        self.database.command(_POSITIONS)
        self._source = source
        others = {
            str(row["source"])
            for row in self.database.query("SELECT DISTINCT source FROM replay_positions")
        } - {source}
        if others:
            raise FatalError(
                f"{self.name} was begun from {min(others)}, not from {source}",
                "finish that, or begin anew with --restart",
            )
        self.save({"": 0})

    def positions(self) -> dict[str, int]:
        """How far each place of the source is indexed."""
        rows = self.database.query(
            "SELECT place, max(position) AS reached FROM replay_positions"
            " WHERE source = {source:String} AND place != '' GROUP BY place",
            {"source": self._source},
        )
        return {str(row["place"]): int(str(row["reached"])) for row in rows}

    def save(self, positions: Mapping[str, int]) -> None:
        """Notes positions whose rows are durable."""
        now = datetime.now(UTC)
        count = len(positions)
        self.database.table("replay_positions").insert(
            {
                "source": [self._source] * count,
                "place": list(positions),
                "position": list(positions.values()),
                "saved_at": [now] * count,
            }
        )

    def has_tables(self, database: str) -> bool:
        """Whether an index database of this name exists."""
        return bool(
            self.server.query(
                "SELECT 1 FROM system.tables WHERE database = {name:String}"
                " AND name IN ('delivery_rows', 'replay_positions') LIMIT 1",
                {"name": database},
            )
        )

    def drop(self, database: str = "") -> None:
        """Removes the shadow, or an earlier index that a swap kept. The index in use never."""
        name = database or self.name
        kept = name == self.name or name.startswith(self.live_name + BEFORE)
        if not kept or not name.replace("_", "").isalnum():
            raise FatalError(
                f"{name} is neither the shadow of {self.live_name} nor an index kept by a swap",
                f"name {self.name} or one of: {', '.join(self.kept()) or 'none is kept'}",
            )
        self.server.command(f"DROP DATABASE IF EXISTS {name} SYNC")

    def kept(self) -> list[str]:
        """The earlier indexes that swaps have kept."""
        rows = self.server.query(
            "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})"
            " ORDER BY name",
            {"prefix": self.live_name + BEFORE},
        )
        return [str(row["name"]) for row in rows]

    def close(self) -> None:
        """Releases the connections."""
        self.database.close()
        self.server.close()
