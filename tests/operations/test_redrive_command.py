"""`hilum dlq redrive`: one letter, by filter, all of them, and what it would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers import metadata_index
from contracts.codec import encode
from contracts.failures import EXIT_FATAL, Reason
from contracts.topics import RECEIVED
from infra.settings import Settings
from operations.cli import app
from operations.stack_files import to_toml
from tests.consumers import story
from tests.consumers.world import member_of, settings_file, world_of

SPEC = metadata_index.SPEC
# (what is in front of each record's bytes instead of its schema, why it is set aside)
SPOILT = (
    (b"\x00\x7f\xff\xff\xf1", Reason.UNKNOWN_SCHEMA),
    (b"\x00\x7f\xff\xff\xf1", Reason.UNKNOWN_SCHEMA),
    (b"\x01", Reason.NOT_CONFLUENT),
    (b"\x02", Reason.NOT_CONFLUENT),
)


class Commands:
    """`hilum dlq … --json` with one settings file, in this process."""

    def __init__(self, settings: Path) -> None:
        self._options = ["--settings", str(settings), "--json"]

    def run(self, *arguments: str) -> tuple[int, Any]:
        """The exit code and the document."""
        ended = CliRunner().invoke(app, ["dlq", *arguments, *self._options])
        return ended.exit_code, json.loads(ended.stdout)

    def open_letters(self) -> dict[str, str]:
        """Reason by id, of those that were not redriven."""
        _, listed = self.run("list", "--consumer", SPEC.name)
        letters = listed["dead_letters"]
        return {one["id"]: one["reason"] for one in letters if not one["is_redriven"]}

    def redrive(self, *arguments: str) -> list[str]:
        """The ids that it names."""
        exit_code, answer = self.run("redrive", *arguments)
        assert exit_code == 0, answer
        assert answer["dry_run"] == ("--dry-run" in arguments)
        return sorted(answer["redriven"])


@pytest.mark.timeout(1500)
def test_letters_are_redriven_one_by_filter_or_all(engines: Settings, tmp_path: Path) -> None:
    with world_of(engines, tmp_path) as world:
        tree = json.loads(settings_file(world.settings, tmp_path / "settings.json").read_text())
        (tmp_path / "settings.toml").write_text(to_toml(tree))
        commands = Commands(tmp_path / "settings.toml")
        events = [delivery.event for delivery in story.deliveries(len(SPOILT))]
        originals = [
            world.bus.event_record(event, story.key_of(event), front + encode(event), str(number))
            for number, (event, (front, _)) in enumerate(zip(events, SPOILT, strict=True))
        ]
        world.bus.publish(originals)
        with member_of(world, SPEC):
            world.wait_committed(SPEC)
        letters = commands.open_letters()
        assert sorted(letters.values()) == sorted(reason for _, reason in SPOILT)

        exit_code, said = commands.run("redrive")
        assert exit_code == EXIT_FATAL and "--all" in said["error"]
        unknown = sorted(one for one, reason in letters.items() if reason == Reason.UNKNOWN_SCHEMA)
        by_reason = ("--reason", Reason.UNKNOWN_SCHEMA.value)
        assert commands.redrive(*by_reason, "--dry-run") == unknown
        assert commands.open_letters() == letters, "a dry run does nothing"
        assert commands.redrive(unknown[0]) == unknown[:1]
        assert commands.redrive(unknown[0]) == [], "nothing is redriven twice unasked"
        assert commands.redrive(*by_reason, "--consumer", SPEC.name) == unknown[1:]
        assert commands.redrive("--consumer", "nobody") == []
        others = sorted(set(letters) - set(unknown))
        assert commands.redrive("--all") == others
        assert commands.open_letters() == {}
        again = [record.value or b"" for record in world.bus.records(RECEIVED)]
        assert sorted(again) == sorted(2 * [record.value or b"" for record in originals])
