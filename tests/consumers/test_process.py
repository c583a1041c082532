"""A consumer as a process: its exit codes, its endpoint, its last words."""

from __future__ import annotations

import hashlib
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contracts.failures import EXIT_FATAL, EXIT_OK
from contracts.topics import PACK_ARCHIVED, RECEIVED
from operations.stack_files import to_toml
from tests.consumers import story
from tests.consumers.bus import eventually
from tests.consumers.consumer_process import ConsumerProcess
from tests.consumers.story import Delivery
from tests.consumers.world import World, settings_file

NAME = "Zqxfamily^Wvugiven"


@pytest.fixture
def process(world: World, tmp_path: Path) -> Iterator[Any]:
    """Starts consumers by name, with limits of their own; none outlives the test."""
    started: list[ConsumerProcess] = []
    tree = json.loads(settings_file(world.settings, tmp_path / "settings.json").read_text())
    tree["log_level"] = "debug"
    path = tmp_path / "settings.toml"

    def start(name: str, **limits: int) -> ConsumerProcess:
        if limits:
            tree["consumers"][name] = {"http_port": 0, **limits}
        path.write_text(to_toml(tree))
        started.append(ConsumerProcess(name, path, tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.end()


def get(port: int, path: str) -> tuple[int, bytes]:
    """An answer of the process's endpoint."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError:  # too busy to answer
        return 0, b""


def tells(port: int, line: str) -> bool:
    """Whether the metrics say so now."""
    return line in get(port, "/metrics")[1].decode()


def test_it_consumes_tells_its_state_and_stops_when_asked(
    world: World, process: Any, record_property: Callable[[str, object], None]
) -> None:
    told = story.deliveries(10)
    world.publish(world.tell(told, [RECEIVED])[RECEIVED])
    running = process("object-archive")
    port = running.line("started")["http_port"]
    eventually(lambda: get(port, "/readyz") == (200, b'{"ready":true,"reason":"running"}'), "ready")
    eventually(lambda: world.bus.lag("object-archive", [RECEIVED]) == 0, "all committed")
    # A batch is counted after its commit.
    for line in ('hilum_consumer_records_total{outcome="written"} 10.0', "hilum_ready 1.0"):
        eventually(partial(tells, port, line), line)
    second = process("object-archive-2")
    port_2 = second.line("started")["http_port"]
    eventually(lambda: get(port_2, "/readyz")[0] == 200, "a second member")
    began_s = time.monotonic()
    for one in (running, second):
        one.child.send_signal(signal.SIGTERM)
    assert [running.exit_code(), second.exit_code()] == [EXIT_OK, EXIT_OK]
    record_property("figure", f"two members ended in {time.monotonic() - began_s:.1f} s")
    eventually(lambda: world.bus.members("object-archive") == 0, "no member left behind")


def named(delivery: Delivery) -> Delivery:
    """The same delivery of somebody: the name is in its header and in its bytes."""
    name = b"\x10\x00\x10\x00PN" + len(NAME).to_bytes(2, "little") + NAME.encode()
    data = name + delivery.data
    event = replace(
        delivery.event,
        content=replace(delivery.event.content, content_sha256=hashlib.sha256(data).hexdigest()),
        size_bytes=len(data),
        header=json.dumps({"00100010": {"vr": "PN", "Value": [{"Alphabetic": NAME}]}}),
    )
    return Delivery(event, data)


# What is wrong with an event of somebody, each in another part of a consumer.
DAMAGES: tuple[Callable[[Any], Any], ...] = (
    lambda event: replace(event, header=event.header[:-1]),
    lambda event: replace(event, header=f"[{NAME}"),
    lambda event: replace(event, size_bytes=-1),
    lambda event: replace(event, content=replace(event.content, content_sha256="0" * 64)),
    lambda event: replace(event, content=replace(event.content, study_instance_uid=NAME)),
)


def test_names_of_patients_are_in_no_log_line_of_a_consumer(world: World, process: Any) -> None:
    good = [named(one) for one in story.deliveries(len(DAMAGES) + 5)]
    told = world.tell(good, [RECEIVED, PACK_ARCHIVED])
    received = list(told[RECEIVED])
    for index, damage in enumerate(DAMAGES):
        received[index] = damage(received[index])
    world.publish([*received, *told[PACK_ARCHIVED]])
    poison = NAME.encode() * 10
    key = story.key_of(good[-1].event)
    world.bus.publish([world.bus.event_record(good[-1].event, key, poison, "poison")])
    inputs = {"object-archive": [RECEIVED], "metadata-index": [RECEIVED, PACK_ARCHIVED]}
    running = {name: process(name) for name in inputs}
    for name, topics in inputs.items():
        eventually(partial(is_through, world, name, topics), f"{name} is through")
    for name, one in running.items():
        one.child.send_signal(signal.SIGTERM)
        assert one.exit_code() == EXIT_OK
        log = one.log.read_text()
        assert "dead letter" in log.lower() or "refus" in log.lower(), name
        for word in (*NAME.split("^"), "SYN0"):
            assert word not in log, (name, word)
    assert world.bus.dead_letters(RECEIVED), "nothing was refused"


def is_through(world: World, name: str, topics: list[Any]) -> bool:
    return world.bus.lag(name, topics) == 0


def test_a_broken_deploy_ends_with_78_and_says_why(world: World, process: Any) -> None:
    event = world.tell(story.deliveries(1), [RECEIVED])[RECEIVED][0]
    key = story.key_of(event)
    world.bus.publish([world.bus.event_record(event, key, b"poison", str(n)) for n in range(120)])
    # All of them in one batch, however slowly they come: what is refused in several is committed.
    stopped = process("metadata-index", batch_records_max=120, batch_age_ms_max=60_000)
    assert stopped.exit_code() == EXIT_FATAL
    last = stopped.line("stopped")
    assert "100 in a row" in last["reason"] and "hilum dlq list" in last["next_step"]
    assert world.bus.lag("metadata-index", [RECEIVED]) == 120
    assert "SYN" not in stopped.log.read_text()


def test_a_name_that_is_none_is_answered_with_the_nearest(process: Any) -> None:
    unknown = process("objekt-archive")
    assert unknown.exit_code() == EXIT_FATAL
    assert unknown.line("stopped")["next_step"] == "did you mean 'object-archive'?"
