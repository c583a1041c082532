"""An archive with an index of a few dozen deliveries, and a child that dies while replaying it.

    python -m tests.operations.replay_world SETTINGS.json OPTIONS.json WORD

runs `rebuild` and kills itself with SIGKILL when a line with WORD is told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers.catalog import spec_of
from consumers.index_writer import IndexWriter
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIPT, RECEIVED
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.connect import connect
from infra.settings import Settings, validate
from infra.telemetry import Metrics
from operations.replay import filling
from operations.replay.rebuild import RebuildOptions, Rebuilt, rebuild
from operations.replay.shadow import Shadow
from tests.consumers.index_database import empty_all, everything
from tests.consumers.story import deliveries
from tests.consumers.world import Member, World, settings_file, world_of
from tests.polling import eventually

ROOT = Path(__file__).resolve().parents[2]
DELIVERIES = 40
DIE_S = 400.0  # a busy machine needs most of it to start the child
INPUTS = (RECEIVED, PACK_ARCHIVED, PACK_REPLICATED, RECEIPT)
SPEC = spec_of("metadata-index")
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Indexed:
    """A world, its events, and what the views of a whole index tell."""

    world: World
    events: list[Any]
    truth: Rows

    @property
    def live(self) -> ClickHouseDatabase:
        """The index in use."""
        database = self.world.engines.primary.database
        assert isinstance(database, ClickHouseDatabase)
        return database

    def told(self) -> Rows:
        """What the views of the index in use tell now."""
        return everything(self.live)

    def rebuild(self, **options: Any) -> Rebuilt:
        """`hilum replay --into shadow` with small batches."""
        wanted = RebuildOptions(wait_s=60.0, batch_records_max=25, **options)
        return rebuild(self.world.engines, wanted, print)

    def rebuild_and_die(self, word: str, **options: Any) -> None:
        """The same in a process of its own, killed when it tells of `word`."""
        directory = self.world.directory
        settings = settings_file(self.world.settings, directory / "settings.json")
        wanted = directory / "options.json"
        wanted.write_text(json.dumps({"wait_s": 60.0, "batch_records_max": 25, **options}))
        command = (sys.executable, "-m", "tests.operations.replay_world")
        ended = subprocess.run(
            (*command, str(settings), str(wanted), word), cwd=ROOT, timeout=DIE_S, check=False
        )
        assert ended.returncode == -signal.SIGKILL

    def consume(self) -> None:
        """The index's own consumer reads all there is, and leaves its group."""
        member = Member(self.world, SPEC)
        self.world.wait_committed(SPEC)
        member.stop()
        self.await_left()

    def await_left(self) -> None:
        """Returns once the broker knows that the consumer's group has no member."""
        eventually(lambda: self.world.bus.members(SPEC.name) == 0, "the group is left")

    def heal(self, share: float = 1.0) -> None:
        """The index as it should be, written by its writer; no shadow, nothing kept.

        With a lesser `share` it is as it was when so much of each topic had been read.
        """
        shadow = Shadow(self.world.settings.primary.clickhouse)
        for name in (*shadow.kept(), shadow.name):
            shadow.drop(name)
        shadow.close()
        empty_all(self.live)
        by_type: dict[type[Any], list[Any]] = {event: [] for event in SPEC.inputs.values()}
        for event in self.events:
            by_type[type(event)].append(event)
        received, archived, replicated, receipts = (
            events[: int(share * len(events))] for events in by_type.values()
        )
        IndexWriter(self.live, SystemClock()).write(
            received=received, archived=archived, replicated=replicated, receipts=receipts
        )


@contextmanager
def indexed_world(settings: Settings, directory: Path) -> Iterator[Indexed]:
    """Deliveries told on all topics, their packs in the bucket, all of it read by the consumer."""
    with world_of(settings, directory) as world:
        told = world.tell(deliveries(DELIVERIES), INPUTS)
        events = [event for topic in INPUTS for event in told[topic]]
        world.publish(events)
        indexed = Indexed(world, events, {})
        indexed.consume()
        indexed.truth = indexed.told()
        assert len(indexed.truth["deliveries"]) == DELIVERIES
        try:
            yield indexed
        finally:
            shadow = Shadow(world.settings.primary.clickhouse)
            for name in (*shadow.kept(), shadow.name):
                shadow.drop(name)
            shadow.close()


def main() -> None:
    """Runs until its end."""
    settings_path, options_path, word = sys.argv[1:]
    settings = validate(json.loads(Path(settings_path).read_text()), settings_path)
    options = RebuildOptions(**json.loads(Path(options_path).read_text()))
    filling.TELL_S = 0.0

    def tell(text: str) -> None:
        if word in text:
            os.kill(os.getpid(), signal.SIGKILL)

    rebuild(connect(settings, "test-replay", Metrics()), options, tell)


if __name__ == "__main__":
    main()
