"""Short runs of the laboratory, one fault each, on one real pipeline; the checker judges each.

Later runs are judged with all that was sent before. The run that empties Kafka stands last.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from contracts.events import GatewayRequest, InstanceReceived, RequestKind
from infra.settings import Settings
from tests.faults.archive_reading import run
from tests.faults.history import OK, read_history
from tests.faults.http_proxy import Fault, HttpProxy, Spoil
from tests.faults.kafka_faults import delete_payload, events
from tests.faults.laboratory import Laboratory, Load, Outcome, Record, at_once, held
from tests.faults.nemesis import KINDS
from tests.faults.spoilt_answers import TABLE_IS_READ_ONLY, is_insert
from tests.polling import eventually

# The pipeline starts within the first test's time.
pytestmark = pytest.mark.timeout(1200)
ARCHIVE, INDEX, REPLICA = "object-archive", "metadata-index", "dr-replica"
# Six studies and more: at least one pack, so three requests, for each.
LOAD = Load(clients=2, instances=20)
ONE = Load(clients=1, instances=8)
# Exponential back-off asks a handful of times in a few seconds; a storm would be hundreds.
INSERTS_MAX = 60
ATTEMPTS = 2


def until_hit(lab: Laboratory, fault: str, line: str, spoil: Spoil, seed: int) -> Outcome:
    """A run under a fault that lasts until it has hit somebody."""
    proxy = lab.pipeline.proxies[line]

    def last() -> None:
        before = proxy.spoilt[spoil.value]
        with lab.fault(fault, line):
            KINDS[fault].begin(lab.pipeline, line, seed)
            try:
                eventually(lambda: proxy.spoilt[spoil.value] > before, f"a request hit by {fault}")
            finally:
                KINDS[fault].end(lab.pipeline, line, seed)

    return lab.run(fault.replace(" ", "-"), seed, (), LOAD, last)


def test_a_killed_archive_loses_and_doubles_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = lab.run("archive-killed", seed, at_once("kill", ARCHIVE, 0.5), LOAD)
    held(outcome, record_property)
    assert outcome.acknowledged == LOAD.clients * LOAD.instances


def test_errors_of_a_store_lose_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    held(until_hit(lab, "errors", "primary store", Spoil.ANSWER, seed), record_property)


def test_a_connection_that_dies_after_the_body_costs_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = until_hit(lab, "die after body", "primary store", Spoil.DIE_AFTER_BODY, seed)
    held(outcome, record_property)


def test_altered_uploads_are_never_kept(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    held(until_hit(lab, "corrupt", "primary store", Spoil.FLIP_BODY, seed), record_property)


def test_lost_answers_of_an_index_double_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = until_hit(lab, "lose answer", "primary index", Spoil.LOSE_ANSWER, seed)
    held(outcome, record_property)


def test_a_stall_is_waited_out(lab: Laboratory, seed: int, record_property: Record) -> None:
    plan = at_once("stall", "primary store", 2.0)
    held(lab.run("store-stalls", seed, plan, ONE), record_property)


def refused_for_a_while(lab: Laboratory, proxy: HttpProxy, heal: Callable[[], None]) -> None:
    """The index tries again and again, but not often, until the engine takes rows again."""
    pipeline = lab.pipeline
    proxy.watch, inserts = is_insert, proxy.watched
    retries = pipeline.metric(INDEX, "hilum_consumer_retries_total") or 0
    with lab.fault("refuse inserts", "primary index"):
        eventually(
            lambda: (
                (pipeline.metric(INDEX, "hilum_consumer_retries_total") or 0) >= retries + ATTEMPTS
            ),
            "attempts to insert",
        )
        assert pipeline.lag(INDEX) > 0, "nothing is committed that is not written"
        assert proxy.watched - inserts < INSERTS_MAX
        heal()


def test_a_table_that_is_read_only_holds_the_line_without_a_storm(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary index"]
    proxy.spoil(Fault(Spoil.ANSWER, is_insert, TABLE_IS_READ_ONLY), seed, one_in=1)
    outcome = lab.run(
        "index-read-only", seed, (), ONE, lambda: refused_for_a_while(lab, proxy, proxy.heal)
    )
    held(outcome, record_property)


def test_too_many_parts_hold_the_line_without_a_storm(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The engine's own answer: its limit is set to what every table has."""
    site, proxy = lab.pipeline.site("primary"), lab.pipeline.proxies["primary index"]

    def limit(setting: str) -> None:
        run(site, f"ALTER TABLE {site.database}.received {setting}")

    def heal() -> None:
        limit("RESET SETTING parts_to_throw_insert, parts_to_delay_insert")

    lab.send(seed + 4, ONE)  # no table is empty
    limit("MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1")
    outcome = lab.run(
        "too-many-parts", seed, (), ONE, lambda: refused_for_a_while(lab, proxy, heal)
    )
    held(outcome, record_property)


def on_the_bus(lab: Laboratory) -> None:
    """Returns once every instance that was acknowledged so far is named by an event."""
    stores = [e for e in read_history(lab.history.path) if e["kind"] == "store"]
    wanted = {e["sop_instance_uid"] for e in stores if e["outcome"] == OK}

    def are_there() -> bool:
        told = events(lab.pipeline.settings, InstanceReceived)
        return wanted <= {event.content.sop_instance_uid for event in told}

    eventually(are_there, "everything acknowledged is on the bus")


def test_a_cut_line_to_the_second_site_is_caught_up(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The first site goes on meanwhile: the archive is done with what was sent during the cut."""
    pipeline = lab.pipeline
    lines = [pipeline.proxies[name] for name in ("dr store", "dr index")]

    def cut_until_the_first_site_is_done() -> None:
        with lab.fault("cut", "line to the second site"):
            for line in lines:
                line.shut()
            lab.send(seed + 1, ONE)
            on_the_bus(lab)
            eventually(lambda: pipeline.lag(ARCHIVE) == 0, "the archive goes on")
            assert pipeline.lag(REPLICA) > 0, "the lag tells of the cut"
            for line in lines:
                line.heal()
                line.delay_s = 0.05

    try:
        outcome = lab.run("line-cut", seed, (), ONE, cut_until_the_first_site_is_done)
    finally:
        for line in lines:
            line.heal()
    held(outcome, record_property)


def test_a_broker_that_hangs_delays_no_answer(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = lab.run("broker-hangs", seed, at_once("stop", "kafka", 3.0), Load(2, 10, 0.1))
    held(outcome, record_property)
    assert outcome.not_answered == 0


def test_a_killed_broker_is_waited_for(lab: Laboratory, seed: int, record_property: Record) -> None:
    outcome = lab.run("broker-killed", seed, at_once("kill kafka", "kafka", 1.0), LOAD)
    held(outcome, record_property)
    assert outcome.not_answered == 0


def test_expired_payload_is_noticed_and_published_again(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The archive is down until its input's bytes are gone; nothing is skipped."""
    pipeline = lab.pipeline

    def expire_before_it_is_read() -> None:
        with lab.fault("expire", "payload"):
            pipeline.kill(ARCHIVE)
            lab.send(seed + 2, ONE)
            on_the_bus(lab)
            delete_payload(pipeline.settings)
            pipeline.start(ARCHIVE)

    outcome = lab.run("payload-expired", seed, (), ONE, expire_before_it_is_read)
    held(outcome, record_property)
    requests = asked_again(pipeline.settings)
    assert requests >= ONE.instances
    record_property("figure", f"{requests} asked for again; {outcome.figure}")


def asked_again(settings: Settings) -> int:
    """Deliveries that the archive asked its gateway for."""
    found = [e for e in events(settings, GatewayRequest) if e.kind is RequestKind.REPUBLISH]
    return len({delivery_id for event in found for delivery_id in event.delivery_ids})


def test_lost_log_directories_cost_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """All topics are gone while the archive hangs: spools resend, objects stay as they are."""
    pipeline = lab.pipeline
    before = set(lab.object_keys())

    def empty() -> None:
        with lab.fault("empty", "kafka"):
            pipeline.signal(ARCHIVE, signal.SIGSTOP)
            lab.send(seed + 3, ONE)
            on_the_bus(lab)
            # An event that nobody read is gone with its topic: its pack is for adoption to find.
            eventually(lambda: pipeline.lag(REPLICA) == pipeline.lag(INDEX) == 0, "all is read")
            pipeline.empty_kafka()
            pipeline.signal(ARCHIVE, signal.SIGCONT)

    outcome = lab.run("logs-deleted", seed, (), ONE, empty)
    held(outcome, record_property)
    assert before and before <= set(lab.object_keys()), "nothing was collected"
    page = outcome.report.read_text()
    assert "What waited" in page and "Throughput" in page
