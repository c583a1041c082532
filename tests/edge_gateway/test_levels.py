"""Levels above disk: 0x0000 is answered once the level is reached, A700 when it is late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.events import CustodyState
from contracts.failures import FatalError
from contracts.topics import PAYLOAD
from edge_gateway import status
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import ScuLimits, SendResult, StoreScu
from infra.settings import Settings, load
from operations.stack_files import to_toml
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import MIB, eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, north_settings, start_forwarder
from tests.edge_gateway.modality import data_set
from tests.edge_gateway.running_gateway import RunningGateway, running_gateway

__all__ = ["north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.600"
# Who sends waits as long as a test may take, so that only the gateway decides.
PATIENT = ScuLimits(connect_timeout_s=120, answer_timeout_s=400)
LATE = status.LEVEL_NOT_REACHED.value
LATE_MS = 300


def rule(calling: str, level: str, answer_within_ms: int = 600_000) -> dict[str, object]:
    return {
        "calling_ae_title": calling,
        "network": "127.0.0.0/8",
        "level": level,
        "answer_within_ms": answer_within_ms,
    }


@contextmanager
def gateway_of(settings: Settings) -> Iterator[RunningGateway]:
    """The receive side over the spool that the settings' forwarder reads."""
    north = settings.gateways["north"]
    rules = [one.model_dump(mode="json") for one in north.admit]
    mirror = ("mirror_directory", "mirror_may_share_disk")
    spool = {"segment_bytes": MIB} | {name: getattr(north.spool, name) for name in mirror}
    with running_gateway(north.spool.directory, admit=rules, spool=spool) as gateway:
        yield gateway


@pytest.fixture
def without_topics(engine_settings: Settings) -> Settings:
    """Gateway north where nothing speaks to Kafka: to make the topics takes seconds."""
    return forwarder_settings(engine_settings)


@dataclass
class Sending:
    """One C-STORE under way in a thread of its own."""

    gateway: RunningGateway
    instance: OutgoingInstance
    calling: str
    result: SendResult | None = None

    def start(self) -> Sending:
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def _send(self) -> None:
        StoreScu(PATIENT).send([self.instance], self.gateway.peer(self.calling), self._note)

    def _note(self, result: SendResult) -> None:
        self.result = result

    def status(self) -> int | None:
        self._thread.join(PATIENT.answer_timeout_s)
        assert self.result is not None
        return self.result.status


def instance(directory: Path, number: int) -> OutgoingInstance:
    path = directory / f"{number}.dcm"
    path.write_bytes(data_set(STUDY, f"{STUDY}.1.{number}", 2_000))
    found = read_outgoing(path)
    assert isinstance(found, OutgoingInstance)
    return found


def receipts(gateway: RunningGateway) -> list[int]:
    return [receipt.status for receipt in gateway.receipts()]


def test_archive_is_answered_when_custody_has_the_same_sha256_and_not_before(
    north_settings: Settings, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, admit=[rule("SLOW", "archive")])
    with gateway_of(settings) as gateway:
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        sending = Sending(gateway, instance(tmp_path, 1), "SLOW").start()
        eventually(lambda: len(gateway.deliveries()) == 1, "durable")
        process = start_forwarder(settings)
        eventually(lambda: len(centre.received()) == 1, "published")
        (event,) = centre.received()
        other = [(event.delivery_id, "0" * 64)]
        centre.say_custody(CustodyState.ARCHIVED, other)
        eventually(lambda: process.metric("hilum_forward_custody_total") == 1, "heard")
        assert sending.result is None and not gateway.receipts()
        # Asked again by the next process, which finds out what the last one was asked.
        process.kill()
        process.start()
        same = [(event.delivery_id, event.content.content_sha256)]
        centre.say_custody(CustodyState.ARCHIVED, same)
        assert sending.status() == 0
        centre.close()
        eventually(lambda: receipts(gateway) == [0], "its receipt")


def test_late_is_a700_and_the_copy_stays_here_and_a_disk_sender_never_waits(
    tmp_path: Path, without_topics: Settings
) -> None:
    rules = [rule("SLOW", "archive"), rule("HASTY", "archive", LATE_MS), rule("FAST", "disk")]
    with gateway_of(forwarder_settings(without_topics, admit=rules)) as gateway:
        slow = Sending(gateway, instance(tmp_path, 1), "SLOW").start()
        eventually(lambda: len(gateway.deliveries()) == 1, "durable")
        assert Sending(gateway, instance(tmp_path, 2), "FAST").start().status() == 0
        hasty = Sending(gateway, instance(tmp_path, 3), "HASTY").start()
        assert hasty.status() == LATE
        assert slow.result is None, "the others waited for the slow one"
        kept = [delivery.sop_instance_uid for delivery, _ in gateway.deliveries()]
        assert kept[2] == hasty.instance.sop_instance_uid
        eventually(lambda: sorted(receipts(gateway)) == [0, LATE], "their receipts")


def test_a_gateway_that_stops_lets_nobody_wait_for_a_level(
    tmp_path: Path, without_topics: Settings
) -> None:
    settings = forwarder_settings(without_topics, admit=[rule("SLOW", "archive", 600_000)])
    with gateway_of(settings) as gateway:
        slow = Sending(gateway, instance(tmp_path, 1), "SLOW").start()
        eventually(lambda: len(gateway.deliveries()) == 1, "durable")
        gateway.receiver.stop()
        assert slow.status() == LATE


def test_kafka_is_refused_while_the_topics_keep_one_copy(
    north_settings: Settings, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    two = {"min_insync_replicas": 2, "replication_factor": 2}
    rules = [rule("BUS", "kafka", LATE_MS), rule("FAST", "disk")]
    settings = forwarder_settings(north_settings, admit=rules, kafka=two)
    process = start_forwarder(settings)
    with gateway_of(settings) as gateway:
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        reason = f"level 'kafka' is refused: {PAYLOAD.name} has min.insync.replicas 1, 2 is needed"
        eventually(lambda: reason in process.readiness()[1], process.log())
        assert Sending(gateway, instance(tmp_path, 1), "BUS").start().status() == LATE
        assert Sending(gateway, instance(tmp_path, 2), "FAST").start().status() == 0
        eventually(lambda: len(centre.received()) == 2, "delivered all the same")
        centre.close()


@pytest.mark.parametrize(
    ("level", "problem"),
    [
        ("mirror", r"level 'mirror' \(admit\[0\]\) needs spool.mirror_directory"),
        ("paper", "admit.0.level: Input should be 'disk', 'mirror', 'kafka' or 'archive'"),
        ("kafka", "needs kafka.min_insync_replicas of 2 or more"),
    ],
)
def test_settings_that_cannot_be_kept_end_the_start(
    without_topics: Settings, tmp_path: Path, level: str, problem: str
) -> None:
    file = tmp_path / "settings.toml"
    tree = without_topics.model_dump(mode="json", exclude_none=True)
    tree["gateways"]["north"]["admit"] = [rule("BUS", level)]
    file.write_text(to_toml(tree))
    with pytest.raises(FatalError, match=problem):
        load(file)
