"""Building a process's seams, while nothing of what they reach is up."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from contracts.failures import RetryableError
from infra.connect import connect
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate
from infra.telemetry import Metrics
from tests.infra.bus_records import record


@pytest.fixture
def nothing_up(tmp_path: Path) -> Settings:
    tree = local_stack_tree(tmp_path, 0)
    tree["kafka"]["bootstrap_servers"] = "127.0.0.1:1"
    for site in ("primary", "dr"):
        tree[site]["object_store"]["endpoint"] = "127.0.0.1:1"
        tree[site]["clickhouse"]["port"] = 1
    return validate(tree, "test")


def test_a_process_is_built_with_everything_down(nothing_up: Settings) -> None:
    # By identity, not by number: threads of earlier tests may end meanwhile.
    before = set(threading.enumerate())
    engines = connect(nothing_up, "object-archive", Metrics())
    ours = {thread.name for thread in set(threading.enumerate()) - before}
    assert not ours, "no connection is tried before it is needed"
    assert engines.scratch_directory.is_dir()
    assert engines.scratch_directory.name == "object-archive"
    assert (engines.primary.name, engines.dr.name) == ("primary", "dr")
    for work in (
        lambda: engines.publisher.publish(record(b"x")),
        lambda: engines.primary.object_store.head("a"),
        lambda: engines.dr.object_store.head("a"),
        lambda: engines.primary.database.query("SELECT 1"),
    ):
        with pytest.raises(RetryableError):
            work()
    began = time.monotonic()
    engines.close()
    # Nothing is waited for: the producers' delivery time-out alone is 120 s.
    assert time.monotonic() - began < nothing_up.kafka.delivery_timeout_ms / 1000 / 2


def test_processes_do_not_share_their_scratch(nothing_up: Settings) -> None:
    one = connect(nothing_up, "object-archive", Metrics())
    two = connect(nothing_up, "object-archive-2", Metrics())
    assert one.scratch_directory != two.scratch_directory
    one.close()
    two.close()
