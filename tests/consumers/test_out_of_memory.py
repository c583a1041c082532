"""A consumer whose memory does not hold its batch: begins anew with smaller ones, writes all."""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.batch_halving import HALVINGS_MAX, halved, is_out_of_memory
from consumers.metadata_index import SPEC
from contracts.topics import RECEIVED
from infra.settings import ConsumerSettings
from operations.stack_files import to_toml
from tests.consumers import story
from tests.consumers.bus import eventually
from tests.consumers.consumer_process import ConsumerProcess
from tests.consumers.hungry import BYTES_A_RECORD, MIB
from tests.consumers.test_process import tells
from tests.consumers.world import World, settings_file

pytestmark = pytest.mark.timeout(900)
# A first batch of all needs 1 280 MiB, half of it 640 MiB, a quarter 320 MiB.
DELIVERIES = 32
# What the process may take beyond what it has when it waits for records.
HEADROOM_BYTES = 600 * MIB
HEALED_WITHIN_S = 400.0
GATHERED_WITHIN_MS = 10_000


@pytest.fixture
def hungry(world: World, tmp_path: Path) -> Iterator[ConsumerProcess]:
    """A running index that needs much memory; its batch is all there is."""
    tree = json.loads(settings_file(world.settings, tmp_path / "settings.json").read_text())
    limits = {"batch_records_max": DELIVERIES, "batch_age_ms_max": GATHERED_WITHIN_MS}
    tree["consumers"][SPEC.name] = {"http_port": 0, **limits}
    path = tmp_path / "settings.toml"
    path.write_text(to_toml(tree))
    running = ConsumerProcess(SPEC.name, path, tmp_path, "tests.consumers.hungry")
    yield running
    running.end()


def limit_memory(running: ConsumerProcess) -> None:
    """From here on the process, and whatever takes its place, gets little more than it has."""
    pid = running.child.pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (size,) = [line.split() for line in lines if line.startswith("VmSize:")]
    most = int(size[1]) * 1024 + HEADROOM_BYTES
    resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


def is_done(world: World, running: ConsumerProcess) -> bool:
    """Whether all is committed; the process must go on meanwhile."""
    code = running.child.poll()
    assert code is None, f"ended with {code}: {running.lines()[-3:]}"
    return world.bus.lag(SPEC.name, [RECEIVED]) == 0


def test_a_batch_that_memory_does_not_hold_is_halved_until_it_does(
    world: World, hungry: ConsumerProcess, record_property: Callable[[str, object], None]
) -> None:
    told = story.deliveries(DELIVERIES)
    events = world.tell(told, [RECEIVED])[RECEIVED]
    hungry.line("running")
    limit_memory(hungry)
    assert DELIVERIES * BYTES_A_RECORD > HEADROOM_BYTES << 1
    world.publish(events)
    eventually(lambda: is_done(world, hungry), "all committed", HEALED_WITHIN_S)
    lines = hungry.lines()
    times = [line["batch_halvings"] for line in lines if line["event"] == "out of memory"]
    assert times and times == list(range(1, len(times) + 1)), "half, half of that, and so on"
    port = [line["http_port"] for line in lines if line["event"] == "started"][-1]
    eventually(lambda: tells(port, f"hilum_consumer_batch_halvings {times[-1]}.0"), "it is told")
    database = world.engines.primary.database
    rows = database.query("SELECT delivery_id FROM deliveries")
    assert Counter(str(row["delivery_id"]) for row in rows) == Counter(
        delivery.event.delivery_id for delivery in told
    )
    assert not world.bus.dead_letters(RECEIVED), "no record is at fault"
    record_property("figure", f"0 lost of {DELIVERIES}, batch halved {len(times)} times")


def test_halving_ends_at_one_record_and_leaves_the_whole_batch_whole() -> None:
    own = ConsumerSettings(batch_records_max=100_000, batch_bytes_max=1_000)
    whole = halved(SPEC.limits, own, 0)
    assert (whole.batch_records_max, whole.batch_bytes_max) == (100_000, 1_000)
    half = halved(SPEC.limits, own, 1)
    assert (half.batch_records_max, half.batch_bytes_max) == (50_000, 500)
    last = halved(SPEC.limits, own, HALVINGS_MAX)
    assert (last.batch_records_max, last.batch_bytes_max) == (1, 1)
    assert halved(SPEC.limits, ConsumerSettings(), 1).batch_records_max == 2_500


@pytest.mark.parametrize("told", ["can't start new thread", "failed: ERROR_allocation_failed"])
def test_lack_of_memory_is_known_by_other_names_too_and_behind_what_came_of_it(told: str) -> None:
    assert is_out_of_memory(RuntimeError(told)) and is_out_of_memory(MemoryError())
    try:
        try:
            raise MemoryError
        finally:
            [].pop()
    except IndexError as cause:
        assert is_out_of_memory(cause)
    assert not is_out_of_memory(RuntimeError("dictionary changed size during iteration"))
