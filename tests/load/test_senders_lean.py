"""The lean sender against a real gateway, a null receiver, and peers that behave badly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from contracts.failures import FatalError
from load.senders import LeanOptions, Outcome, Planned, SendRun, Target, ceiling, send_lean
from load.senders.ceiling import ceiling_run
from load.senders.latency import latency_histogram, merged, quantiles_us
from load.studies import Identity, stamp
from operations.ports import free_ports
from tests.edge_gateway.running_gateway import AE_TITLE, running_gateway
from tests.load.scripted_peer import Script, scripted_peer
from tests.load.sender_templates import planned, small_template

# A busy peer answers within it; one that stalls does not at all.
STALLED_S = 4.0
# Some are answered in it, and not all: a peer whose window never fills takes 0.2 s for each.
BOX_S = 4.0


def by_uid(instances: list[Planned]) -> dict[str, bytes]:
    return {
        one.identity.sop_instance_uid: bytes(stamp(one.template, one.identity)) for one in instances
    }


def test_what_a_gateway_stores_is_what_was_stamped(tmp_path: Path) -> None:
    small, large = small_template(2048), small_template(600 * 1024)
    instances = planned(small, 30) + planned(large, 8, seed=2)
    with running_gateway(tmp_path / "spool") as gateway:
        target = Target("127.0.0.1", gateway.port, AE_TITLE)
        run = send_lean(target, instances, LeanOptions(processes=2, associations=2))
        stored = {entry.sop_instance_uid: body for entry, body in gateway.deliveries()}
    assert run.acknowledged == len(instances)
    assert not run.failures()
    assert stored == by_uid(instances)
    assert run.bytes_acknowledged == sum(len(body) for body in stored.values())
    assert (run.processes, run.associations, run.window) == (2, 4, 1)
    assert run.latency.get_total_count() == len(instances)
    assert all(one.latency_us is not None and one.latency_us > 0 for one in run.outcomes)


@pytest.mark.parametrize("pdu_bytes_max", (64, 130, 4096, 16384, 0))
def test_frames_are_whole_whatever_length_the_peer_takes(pdu_bytes_max: int) -> None:
    instances = planned(small_template(), 3) + planned(small_template(100 * 1024), 3, seed=2)
    with scripted_peer(Script(pdu_bytes_max=pdu_bytes_max)) as peer:
        run = send_lean(peer.target, instances, LeanOptions())
    assert run.acknowledged == len(instances)
    assert peer.stored == by_uid(instances)


def test_a_window_is_used_where_the_peer_grants_one() -> None:
    instances = planned(small_template(), 40)
    with scripted_peer(Script(window=4)) as peer:
        run = send_lean(peer.target, instances, LeanOptions(window=16))
    assert run.window == 4
    assert 1 < peer.in_flight_max <= 4
    assert run.acknowledged == len(instances)
    assert peer.stored == by_uid(instances)


def test_one_is_in_flight_where_no_window_is_granted() -> None:
    instances = planned(small_template(), 10)
    with scripted_peer(Script()) as peer:
        run = send_lean(peer.target, instances, LeanOptions(window=16))
    assert (run.window, run.acknowledged, peer.in_flight_max) == (1, 10, 1)


def test_every_status_is_kept_by_its_number() -> None:
    instances = planned(small_template(), 12)
    with scripted_peer(Script(statuses=(0x0000, 0xA700, 0xC000, 0xB000))) as peer:
        run = send_lean(peer.target, instances, LeanOptions())
    assert run.statuses == Counter({0x0000: 3, 0xA700: 3, 0xC000: 3, 0xB000: 3})
    assert (run.acknowledged, run.warned) == (6, 3)
    told = {failure.what: failure.count for failure in run.failures()}
    assert told == {"C-STORE answered A700": 3, "C-STORE answered C000": 3}
    assert all(len(failure.examples) == 3 for failure in run.failures())


def test_a_refused_connection_is_a_problem_of_every_instance() -> None:
    target = Target("127.0.0.1", free_ports(1)[0], "NOBODY")
    run = send_lean(target, planned(small_template(), 5), LeanOptions(reconnects_max=1))
    assert run.problems == Counter({"no association: refused": 5})
    assert run.association_problems == {"refused": 2}
    assert (run.acknowledged, run.rate, run.seconds) == (0, 0.0, 0.0)


def test_a_rejection_is_named_by_its_numbers() -> None:
    with scripted_peer(Script(reject=(2, 3, 1))) as peer:
        run = send_lean(peer.target, planned(small_template(), 5), LeanOptions(reconnects_max=2))
    assert run.problems == Counter({"no association: rejected 2/3/1": 5})
    assert run.association_problems == {"rejected 2/3/1": 3}
    assert peer.associations == 3


def test_a_context_that_is_not_accepted_is_named() -> None:
    with scripted_peer(Script(refuses_contexts=True)) as peer:
        run = send_lean(peer.target, planned(small_template(), 5), LeanOptions())
    assert run.problems == Counter({"presentation context not accepted": 5})


@pytest.mark.parametrize(
    ("script", "problem"),
    (
        (Script(abort_after=2), "aborted 2/0"),
        (Script(close_after=2), "closed by the peer"),
    ),
)
def test_a_lost_association_costs_one_instance_and_is_opened_again(
    script: Script, problem: str
) -> None:
    instances = planned(small_template(), 20)
    with scripted_peer(script) as peer:
        run = send_lean(peer.target, instances, LeanOptions(reconnects_max=2))
    assert run.acknowledged == 6
    assert run.problems == Counter({problem: 3, f"no association: {problem}": 11})
    assert run.association_problems == {problem: 3}
    assert run.associations == 3
    assert {one.sop_instance_uid for one in run.outcomes} == set(by_uid(instances))


def test_a_peer_that_stalls_runs_into_the_time_out() -> None:
    options = LeanOptions(response_timeout_s=STALLED_S, reconnects_max=0)
    with scripted_peer(Script(stall_after=1)) as peer:
        run = send_lean(peer.target, planned(small_template(), 4), options)
    assert run.acknowledged == 1
    assert run.problems == Counter({"timed out": 1, "no association: timed out": 2})


def test_an_abort_in_the_middle_of_a_data_set_is_named() -> None:
    instances = planned(small_template(8 * 1024 * 1024), 3)
    with scripted_peer(Script(aborts_inside=True)) as peer:
        run = send_lean(peer.target, instances, LeanOptions(reconnects_max=1))
    assert run.acknowledged == 0
    # What was unread at the peer makes its close a reset, which may overtake the A-ABORT.
    assert set(run.association_problems) <= {"aborted 2/0", "reset"}
    assert run.problems.total() == 3
    assert sum(run.association_problems.values()) == 2


def test_a_peer_that_reads_no_more_runs_into_the_time_out() -> None:
    instances = planned(small_template(8 * 1024 * 1024), 2)
    options = LeanOptions(response_timeout_s=STALLED_S, reconnects_max=0)
    with scripted_peer(Script(stalls_inside=True)) as peer:
        run = send_lean(peer.target, instances, options)
    assert run.problems == Counter({"timed out": 1, "no association: timed out": 1})


def test_open_loop_counts_from_when_it_was_due(tmp_path: Path) -> None:
    template = small_template()
    instances = [
        Planned(template, Identity(1, 1, 1, number), due_s=number * 0.02) for number in range(20)
    ]
    with running_gateway(tmp_path / "spool") as gateway:
        target = Target("127.0.0.1", gateway.port, AE_TITLE)
        run = send_lean(target, instances, LeanOptions(associations=2))
    assert run.acknowledged == len(instances)
    for one in run.outcomes:
        assert one.due_at is not None
        # A microsecond of rounding: both are floats of today's size.
        assert one.sent_at >= one.due_at - 2e-6
    dues = sorted(one.due_at for one in run.outcomes if one.due_at is not None)
    assert dues[-1] - dues[0] == pytest.approx(19 * 0.02, abs=1e-5)


def test_a_slow_peer_shows_in_the_latency_from_due() -> None:
    template = small_template()
    instances = [Planned(template, Identity(1, 1, 1, number), due_s=0.0) for number in range(8)]
    # A window that never fills: this peer answers after its own pause.
    with scripted_peer(Script(window=2)) as peer:
        run = send_lean(peer.target, instances, LeanOptions())
    assert run.acknowledged == len(instances)
    # One after the other, each due at the start: the last one has waited for all before it.
    latencies_us = [one.latency_us for one in run.outcomes if one.latency_us is not None]
    from_due_us = [one.latency_from_due_us or 0.0 for one in run.outcomes]
    assert len(latencies_us) == len(instances)
    assert max(from_due_us) >= 0.99 * sum(latencies_us)
    # A histogram keeps three digits.
    assert run.latency_from_due.get_max_value() >= 0.99 * max(from_due_us)
    assert run.latency.get_max_value() < run.latency_from_due.get_max_value()


def test_a_time_box_ends_without_failures_and_counts_the_rest() -> None:
    instances = planned(small_template(), 200)
    options = LeanOptions(seconds_max=BOX_S, is_time_box=True)
    with scripted_peer(Script(window=2)) as peer:
        run = send_lean(peer.target, instances, options)
    assert not run.failures()
    assert 0 < run.acknowledged == len(run.outcomes)
    assert run.acknowledged + run.not_sent == len(instances)


def test_a_run_over_its_time_says_what_was_not_sent() -> None:
    instances = planned(small_template(), 200)
    with scripted_peer(Script(window=2)) as peer:
        run = send_lean(peer.target, instances, LeanOptions(seconds_max=BOX_S))
    assert run.problems["not sent in time"] + run.acknowledged == len(instances)
    assert [failure.what for failure in run.failures()] == ["not sent in time"]


def test_the_ceiling_is_of_the_same_plan_without_its_due_times() -> None:
    template = small_template()
    instances = [
        Planned(template, Identity(1, 1, 1, number), due_s=3600.0) for number in range(200)
    ]
    run = ceiling_run(instances, LeanOptions(associations=2, window=8))
    assert (run.acknowledged, run.window) == (200, 8)
    assert 0 < run.sender_share <= 1.5
    assert ceiling(instances, LeanOptions()) > 0


@pytest.mark.parametrize(
    "options", (LeanOptions(processes=0), LeanOptions(associations=10_000), LeanOptions(window=0))
)
def test_options_out_of_bounds_name_the_bound(options: LeanOptions) -> None:
    with pytest.raises(FatalError, match="choose 1 to"):
        send_lean(Target("127.0.0.1", 1, "X"), planned(small_template(), 1), options)


def test_nothing_to_send_and_a_title_too_long_are_wrong_use() -> None:
    with pytest.raises(FatalError, match="instances is 0"):
        send_lean(Target("127.0.0.1", 1, "X"), [], LeanOptions())
    with pytest.raises(FatalError, match="AE title"):
        target = Target("127.0.0.1", 1, "MORE THAN SIXTEEN")
        send_lean(target, planned(small_template(), 1), LeanOptions())


def test_histograms_merge_and_keep_what_is_out_of_range() -> None:
    first = latency_histogram([10, 20, 30])
    second = latency_histogram([0, 10**12])
    total = merged((first, second))
    assert total.get_total_count() == 5
    assert quantiles_us(total)["p50"] == 20.0
    assert quantiles_us(latency_histogram([])) == {}


def test_an_empty_run_divides_by_nothing() -> None:
    run = SendRun(outcomes=(), seconds=0.0, cpu_s=0.0, processes=1, associations=0)
    assert (run.rate, run.megabytes_per_s, run.sender_share) == (0.0, 0.0, 0.0)
    lost = Outcome("2.25.1", "ct", 1, None, 1.0, None, None, "lost")
    assert lost.latency_from_due_us is None
