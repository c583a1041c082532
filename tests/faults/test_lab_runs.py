"""Short runs of the laboratory, one fault each, on one real pipeline; the checker judges each.

Later runs are judged with all that was sent before. The run that empties Kafka stands last.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from contracts.events import GatewayRequest, RequestKind
from infra.settings import Settings
from tests.faults.archive_reading import run
from tests.faults.http_proxy import Fault, Spoil
from tests.faults.kafka_faults import delete_payload, events
from tests.faults.laboratory import Laboratory, Load, Outcome, at_once
from tests.faults.pipeline import eventually
from tests.faults.spoilt_answers import TABLE_IS_READ_ONLY, is_insert

Record = Callable[[str, object], None]
# Exponential back-off asks a handful of times in a few seconds; a storm would be hundreds.
INSERTS_MAX = 60
ARCHIVE, INDEX = "object-archive", "metadata-index"
TWO_ATTEMPTS = 2


def held(outcome: Outcome, record_property: Record) -> Outcome:
    """The outcome, which must hold; its figure is kept for the fault matrix."""
    record_property("seed", outcome.seed)
    record_property("figure", outcome.figure)
    outcome.must_hold()
    return outcome


def test_a_killed_archive_loses_and_doubles_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = held(lab.run("archive-killed", seed, at_once("kill", ARCHIVE, 0.5)), record_property)
    assert outcome.acknowledged == 2 * Load().instances


def test_errors_of_a_store_lose_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary store"]
    before = proxy.spoilt[Spoil.ANSWER.value]
    outcome = lab.run("store-errors", seed, at_once("errors", "primary store", 4.0), Load(2, 30))
    held(outcome, record_property)
    assert proxy.spoilt[Spoil.ANSWER.value] > before


def test_a_connection_that_dies_after_the_body_costs_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary store"]
    plan = at_once("die after body", "primary store", 4.0)
    held(lab.run("dies-after-body", seed, plan), record_property)
    assert proxy.spoilt[Spoil.DIE_AFTER_BODY.value] > 0


def test_altered_uploads_are_never_kept(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary store"]
    held(
        lab.run("altered-uploads", seed, at_once("corrupt", "primary store", 4.0)), record_property
    )
    assert proxy.spoilt[Spoil.FLIP_BODY.value] > 0


def test_a_stall_is_waited_out(lab: Laboratory, seed: int, record_property: Record) -> None:
    held(lab.run("store-stalls", seed, at_once("stall", "primary store", 3.0)), record_property)


def test_lost_answers_of_an_index_double_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary index"]
    plan = at_once("lose answer", "primary index", 4.0)
    held(lab.run("answers-lost", seed, plan), record_property)
    assert proxy.spoilt[Spoil.LOSE_ANSWER.value] > 0


def test_a_table_that_is_read_only_holds_the_line_without_a_storm(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    proxy = lab.pipeline.proxies["primary index"]

    def read_only_for_a_while() -> None:
        before = proxy.spoilt[Spoil.ANSWER.value]
        proxy.spoil(Fault(Spoil.ANSWER, is_insert, TABLE_IS_READ_ONLY), seed, one_in=1)
        eventually(
            lambda: proxy.spoilt[Spoil.ANSWER.value] - before >= TWO_ATTEMPTS, "attempts to insert"
        )
        refused = proxy.spoilt[Spoil.ANSWER.value] - before
        assert lab.pipeline.lag(INDEX) > 0 and refused < INSERTS_MAX
        proxy.heal()

    outcome = lab.run("index-read-only", seed, (), meanwhile=read_only_for_a_while)
    held(outcome, record_property)


def test_too_many_parts_hold_the_line_without_a_storm(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The engine's own answer: its limit is set to what every table exceeds."""
    site, proxy = lab.pipeline.site("primary"), lab.pipeline.proxies["primary index"]

    def limit(setting: str) -> None:
        run(site, f"ALTER TABLE {site.database}.received {setting}")

    def too_many_for_a_while() -> None:
        proxy.watch = is_insert
        before = proxy.watched
        eventually(lambda: proxy.watched - before >= TWO_ATTEMPTS, "attempts to insert")
        eventually(lambda: lab.pipeline.lag(INDEX) > 0, "a consumer that waits")
        assert proxy.watched - before < INSERTS_MAX
        limit("RESET SETTING parts_to_throw_insert, parts_to_delay_insert")

    limit("MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 0")
    outcome = lab.run("too-many-parts", seed, (), meanwhile=too_many_for_a_while)
    held(outcome, record_property)


def test_a_cut_line_to_the_second_site_is_caught_up(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The first site goes on meanwhile: its own index has what was sent during the cut."""
    pipeline = lab.pipeline
    lines = [pipeline.proxies[name] for name in ("dr store", "dr index")]

    def cut_until_the_first_site_is_done() -> None:
        for line in lines:
            line.shut()
        lab.history.fault("cut", "line to the second site", is_begin=True)
        lab.send(seed + 1)
        eventually(lambda: pipeline.lag(ARCHIVE) == 0, "the archive goes on")
        assert pipeline.lag("dr-replica") > 0, "the lag tells of the cut"
        for line in lines:
            line.heal()
            line.delay_s = 0.05
        lab.history.fault("cut", "line to the second site", is_begin=False)

    try:
        outcome = lab.run("line-cut", seed, (), meanwhile=cut_until_the_first_site_is_done)
    finally:
        for line in lines:
            line.heal()
    held(outcome, record_property)


def test_a_broker_that_hangs_delays_no_answer(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    outcome = lab.run("broker-hangs", seed, at_once("stop", "kafka", 4.0), Load(2, 20, 0.1))
    held(outcome, record_property)
    assert outcome.not_answered == 0


def test_a_killed_broker_is_waited_for(lab: Laboratory, seed: int, record_property: Record) -> None:
    outcome = lab.run("broker-killed", seed, at_once("kill kafka", "kafka", 2.0))
    held(outcome, record_property)
    assert outcome.not_answered == 0


def test_expired_payload_is_noticed_and_published_again(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """The archive is down until its input's bytes are gone; nothing is skipped."""
    pipeline = lab.pipeline

    def expire_before_it_is_read() -> None:
        pipeline.kill(ARCHIVE)
        lab.history.fault("expire", "payload", is_begin=True)
        lab.send(seed + 2, Load(1, 12))
        eventually(lambda: pipeline.gauges().get("spooled and not published") == 0, "published")
        delete_payload(pipeline.settings)
        lab.history.fault("expire", "payload", is_begin=False)
        pipeline.start(ARCHIVE)

    outcome = lab.run("payload-expired", seed, (), Load(1, 4), expire_before_it_is_read)
    held(outcome, record_property)
    requests = asked_again(pipeline.settings)
    assert requests > 0
    record_property("figure", f"{requests} asked for again; {outcome.figure}")


def asked_again(settings: Settings) -> int:
    """Deliveries that the archive asked its gateway for."""
    found = [e for e in events(settings, GatewayRequest) if e.kind is RequestKind.REPUBLISH]
    return len({delivery_id for event in found for delivery_id in event.delivery_ids})


def test_lost_log_directories_cost_nothing(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    """All topics are gone while the archive is down: spools resend, objects stay as they are."""
    pipeline = lab.pipeline
    before = set(lab.object_keys())

    def empty() -> None:
        pipeline.signal(ARCHIVE, signal.SIGSTOP)
        lab.send(seed + 3, Load(1, 12))
        eventually(lambda: pipeline.gauges().get("spooled and not published") == 0, "published")
        # An event that nobody read is gone with its topic: what it names is for adoption to find.
        eventually(lambda: pipeline.lag("dr-replica") == pipeline.lag(INDEX) == 0, "all is read")
        lab.history.fault("empty kafka", "kafka", is_begin=True)
        pipeline.empty_kafka()
        lab.history.fault("empty kafka", "kafka", is_begin=False)
        pipeline.signal(ARCHIVE, signal.SIGCONT)

    outcome = lab.run("logs-deleted", seed, (), Load(1, 4), empty)
    held(outcome, record_property)
    assert before <= set(lab.object_keys()), "nothing was collected"


@pytest.mark.parametrize("name", ["archive-killed", "logs-deleted"])
def test_a_run_leaves_a_page_and_its_values(lab: Laboratory, seed: int, name: str) -> None:
    directory = lab.reports / f"{name}-{seed}"
    page = (directory / "report.html").read_text()
    assert "What waited" in page and "Throughput" in page
    assert (directory / "report.json").stat().st_size > 0
