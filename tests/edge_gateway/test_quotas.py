"""A quota of unarchived bytes: over it A700 for that AE title alone, and it ends by itself."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.events import CustodyState
from edge_gateway import status
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.outgoing import OutgoingInstance
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import ReceiptLedger
from edge_gateway.progress_rows import DeliveryState
from edge_gateway.quota_desk import QuotaDesk
from edge_gateway.recent import RecentDeliveries
from edge_gateway.spool import SpoolReader
from edge_gateway.spool.family import FIRST_WORKER
from edge_gateway.spool.spool_set import WorkerReader
from edge_gateway.spool_feed import SpoolFeed
from edge_gateway.unarchived import FILE_NAME, read_unarchived
from infra.clock import SystemClock
from infra.settings import Settings
from tests.edge_gateway import sending
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import MIB, forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, north_settings, start_forwarder
from tests.edge_gateway.running_gateway import RunningGateway, eventually, running_gateway
from tests.edge_gateway.sending import rule, send

__all__ = ["north_settings", "start_forwarder"]
# Two of them are within MIB, three are not.
INSTANCE_BYTES = 400_000
QUOTA = status.QUOTA_REACHED.value


RULES = [rule("BIG", unarchived_bytes_max=MIB), rule("OTHER")]


def instance(directory: Path, number: int, size_bytes: int = INSTANCE_BYTES) -> OutgoingInstance:
    return sending.instance(directory, number, size_bytes)


def statuses(gateway: RunningGateway, calling: str, *instances: OutgoingInstance) -> list[int]:
    return [result.status or 0 for result in send(gateway, calling, *instances)]


def metrics(gateway: RunningGateway) -> str:
    address = f"http://127.0.0.1:{gateway.receiver.addresses.http_port}/metrics"
    with urllib.request.urlopen(address, timeout=60) as answer:
        return str(answer.read().decode())


class Forwarding:
    """The forward process's part over the same spool, and its word for the receive process."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway, self.directory = gateway, gateway.directory
        gateway_id = gateway.spool.identity.gateway_id
        self.progress = Progress(self.directory / "progress.sqlite", gateway_id)
        self._reader = WorkerReader(self.directory, FIRST_WORKER)
        receipts = ReceiptLedger(self.progress.connection)
        self._feed = SpoolFeed(
            self._reader, self.progress, receipts, RecentDeliveries(), ForwardHealth()
        )
        self._feed.begin()
        self.desk = QuotaDesk(self.progress.connection, self.directory, gateway_id, SystemClock())
        self._gateway_id = gateway_id

    def read(self) -> None:
        """Takes in all that is durable, and tells of it."""
        while self._feed.step():
            pass

        def is_told() -> bool:
            self.desk.step(self._feed.position)
            known = read_unarchived(self.directory, self._gateway_id)
            return known.read_up_to == self._feed.position and known.size_bytes == self.truth()

        eventually(is_told)
        self.progress.commit()

    def read_until_there_is_room(self) -> None:
        """As the forward process does, which never stops to read."""

        def is_told() -> bool:
            self.read()
            return "quota reached" not in self._gateway.receiver.readiness().reason

        eventually(is_told)

    def truth(self) -> dict[str, int]:
        """What an own sum over the ledger says."""
        rows = self.progress.connection.execute(
            "SELECT calling_ae_title, sum(size_bytes) FROM delivery"
            " WHERE state IN ('spooled', 'published', 'refused') GROUP BY 1"
        )
        return {str(title): int(size) for title, size in rows}

    def archive(self, delivery_id: str) -> None:
        now = datetime.now(UTC)
        self.progress.resolve(delivery_id, DeliveryState.ARCHIVED, now, now)

    def close(self) -> None:
        self._reader.close()
        self.progress.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path / "spool", admit=RULES) as running:
        yield running


def test_over_its_quota_an_ae_title_is_refused_and_nobody_else(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    sent = [instance(tmp_path, number) for number in range(4)]
    results = send(gateway, "BIG", *sent[:3])
    assert [result.status for result in results] == [0, 0, QUOTA]
    assert results[2].comment.startswith("quota ")
    # What is too much in the middle of a data set is not what the next one is judged by.
    assert statuses(gateway, "BIG", sent[2], instance(tmp_path, 9, 2_000)) == [QUOTA, 0]
    assert statuses(gateway, "OTHER", *sent) == [0, 0, 0, 0]
    kept = [delivery.calling_ae_title for delivery, _ in gateway.deliveries()]
    assert kept == ["BIG"] * 3 + ["OTHER"] * 4
    assert not list((gateway.directory / "objects").iterdir())
    assert gateway.spool.statistics().memory_bytes == 0


def test_a_refusal_is_counted_and_told_in_readiness_while_the_gateway_stays_ready(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    sent = [instance(tmp_path, number) for number in range(3)]
    assert statuses(gateway, "BIG", *sent) == [0, 0, QUOTA]
    readiness = gateway.receiver.readiness()
    assert readiness.is_ready and "quota reached: BIG (8" in readiness.reason
    text = metrics(gateway)
    assert 'hilum_store_refused_total{reason="quota"} 1' in text
    held = sum(delivery.size_bytes for delivery, _ in gateway.deliveries())
    assert f'hilum_quota_unarchived_bytes{{calling="BIG"}} {held}' in text


def test_it_accepts_again_once_the_archive_has_it_and_says_so(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    sent = [instance(tmp_path, number) for number in range(4)]
    assert statuses(gateway, "BIG", *sent[:3]) == [0, 0, QUOTA]
    forwarding = Forwarding(gateway)
    forwarding.read()
    assert statuses(gateway, "BIG", sent[2]) == [QUOTA]
    forwarding.archive(gateway.deliveries()[0][0].delivery_id)
    forwarding.read_until_there_is_room()
    assert statuses(gateway, "BIG", sent[2], sent[3]) == [0, QUOTA]
    forwarding.close()


def test_the_count_survives_a_restart_of_either_side(tmp_path: Path) -> None:
    spool, sent = tmp_path / "spool", [instance(tmp_path, number) for number in range(4)]
    with running_gateway(spool, admit=RULES) as gateway:
        assert statuses(gateway, "BIG", sent[0]) == [0]
        forwarding = Forwarding(gateway)
        forwarding.read()
        forwarding.close()
        assert statuses(gateway, "BIG", sent[1]) == [0]
    with running_gateway(spool, admit=RULES) as gateway:
        # One is told as read, and one nobody has read.
        assert statuses(gateway, "BIG", sent[2]) == [QUOTA]
        forwarding = Forwarding(gateway)
        forwarding.archive(gateway.deliveries()[0][0].delivery_id)
        forwarding.read_until_there_is_room()
        assert statuses(gateway, "BIG", sent[2]) == [0]
        forwarding.close()


def test_without_a_word_of_the_forwarder_everything_in_the_spool_counts(tmp_path: Path) -> None:
    spool, sent = tmp_path / "spool", [instance(tmp_path, number) for number in range(3)]
    with running_gateway(spool, admit=[rule("BIG")]) as gateway:
        assert statuses(gateway, "BIG", *sent[:2]) == [0, 0]
    for damage in (None, b"", b"[]", b'{"gateway_id": "another", "size_bytes": {}}'):
        if damage is not None:
            (spool / FILE_NAME).write_bytes(damage)
        with running_gateway(spool, admit=RULES) as gateway:
            assert statuses(gateway, "BIG", sent[2]) == [QUOTA], damage


def test_a_word_from_before_what_is_known_takes_nothing_back(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    sent = [instance(tmp_path, number) for number in range(3)]
    assert statuses(gateway, "BIG", *sent[:2]) == [0, 0]
    forwarding = Forwarding(gateway)
    forwarding.read()
    quotas = gateway.receiver._quotas
    assert quotas is not None
    eventually(lambda: quotas.bytes_of("BIG") > 0 and quotas._known.size_bytes != {})
    (gateway.directory / FILE_NAME).unlink()
    for number in range(3):
        quotas._fresh_until_s = 0.0
        assert statuses(gateway, "BIG", sent[2]) == [QUOTA], number
    # Nor does the next forward process, whose ledger has to be filled anew.
    forwarding.read()
    told = read_unarchived(gateway.directory, gateway.spool.identity.gateway_id)
    forwarding.close()
    (gateway.directory / "progress.sqlite").unlink()
    fresh = Forwarding(gateway)
    fresh.desk.step(SpoolReader(gateway.directory).position)
    assert read_unarchived(gateway.directory, gateway.spool.identity.gateway_id) == told
    fresh.close()


def test_a_rule_for_any_counts_each_ae_title_by_itself(tmp_path: Path) -> None:
    sent = [instance(tmp_path, number) for number in range(3)]
    rules = [rule("*", unarchived_bytes_max=MIB)]
    with running_gateway(tmp_path / "spool", admit=rules) as gateway:
        assert statuses(gateway, "ONE", *sent) == [0, 0, QUOTA]
        assert statuses(gateway, "TWO", *sent) == [0, 0, QUOTA]
        assert "hilum_quota_unarchived_bytes{" not in metrics(gateway)


def test_every_change_of_state_is_counted(gateway: RunningGateway, tmp_path: Path) -> None:
    sent = [instance(tmp_path, number, 2_000) for number in range(6)]
    assert statuses(gateway, "OTHER", *sent) == [0] * 6
    forwarding = Forwarding(gateway)
    forwarding.read()
    ids = [delivery.delivery_id for delivery, _ in gateway.deliveries()]
    progress, now = forwarding.progress, datetime.now(UTC)
    steps = (
        lambda: progress.publish([(ids[0], now)], "here"),
        lambda: progress.refuse(ids[1]),
        lambda: forwarding.archive(ids[0]),
        lambda: forwarding.archive(ids[1]),
        lambda: progress.lose(ids[2], "gone"),
        lambda: progress.spool_again(ids[0]),
        lambda: progress.resolve(ids[3], DeliveryState.QUARANTINED, now, now),
        lambda: progress.purge(ids[3:5], now),
    )
    for step in steps:
        step()
        # `read` returns only when the file says what a sum over the ledger says.
        forwarding.read()
    assert sum(forwarding.truth().values()) == 2 * gateway.deliveries()[0][0].size_bytes
    forwarding.close()


def test_a_real_forwarder_and_custody_give_the_room_back(
    north_settings: Settings, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, admit=RULES)
    spool = settings.gateways["north"].spool
    sent = [instance(tmp_path, number) for number in range(3)]
    with running_gateway(spool.directory, admit=RULES, spool={"segment_bytes": MIB}) as gateway:
        assert statuses(gateway, "BIG", *sent) == [0, 0, QUOTA]
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        start_forwarder(settings)
        eventually(lambda: len(centre.received()) == 2)
        assert statuses(gateway, "BIG", sent[2]) == [QUOTA]
        has_both = [
            (event.delivery_id, event.content.content_sha256) for event in centre.received()
        ]
        centre.say_custody(CustodyState.ARCHIVED, has_both)
        eventually(lambda: "quota reached" not in gateway.receiver.readiness().reason)
        assert statuses(gateway, "BIG", sent[2]) == [0]
        centre.close()
