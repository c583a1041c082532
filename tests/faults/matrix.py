"""The fault matrix: each row with the tests that show it.

Invariant: a flat literal list, one entry a row, so that branches that add rows merge; a row without
a test says so by naming none. `test_matrix` holds every named test to exist.
"""

from __future__ import annotations

from tests.faults.matrix_gateway import GATEWAY_ROWS
from tests.faults.matrix_row import Row

# Rows that concern forwarder, bus, stores or index.
PIPELINE_ROWS: tuple[Row, ...] = (
    Row(
        "7",
        "Kafka down",
        "I1 I6 I10",
        tests=(
            "tests/edge_gateway/test_forward_faults.py"
            "::test_it_starts_while_kafka_is_down_and_catches_up_by_itself",
            "tests/faults/test_lab_runs.py::test_a_killed_broker_is_waited_for",
        ),
        soak=("tests/faults/test_soak.py::test_kafka_is_down_for_long",),
    ),
    Row(
        "8",
        "Kafka down at gateway start",
        "I1",
        tests=(
            "tests/edge_gateway/test_receive_process.py"
            "::test_it_starts_and_answers_with_everything_else_down",
            "tests/edge_gateway/test_forward_faults.py"
            "::test_it_starts_while_kafka_is_down_and_catches_up_by_itself",
        ),
    ),
    Row(
        "9",
        "partition leader kill -9 every 10 s, three brokers",
        "I1 I3",
        tests=(
            "tests/faults/cluster/test_brokers_killed.py"
            "::test_brokers_killed_in_turns_lose_nothing_and_double_nothing",
        ),
        soak=(
            "tests/faults/cluster/test_brokers_killed.py"
            "::test_brokers_killed_every_ten_seconds_for_ten_minutes",
        ),
    ),
    Row(
        "10",
        "fewer in-sync replicas than required, three brokers",
        "I1",
        tests=(
            "tests/faults/cluster/test_brokers_stopped.py"
            "::test_one_that_stands_still_is_done_without_and_with_two_nothing_counts_as_published",
            "tests/faults/cluster/test_expired_records.py"
            "::test_after_records_that_expired_the_next_ones_go",
        ),
    ),
    Row(
        "11",
        "broker SIGSTOP 60 s",
        "I1 I9",
        tests=(
            "tests/faults/test_lab_runs.py::test_a_broker_that_hangs_delays_no_answer",
            "tests/faults/cluster/test_brokers_stopped.py"
            "::test_one_that_stands_still_is_done_without_and_with_two_nothing_counts_as_published",
            "tests/faults/cluster/test_brokers_stopped.py"
            "::test_a_consumer_stops_when_asked_while_its_sink_is_down_and_its_coordinator_hangs",
        ),
        soak=(
            "tests/faults/test_soak.py::test_a_broker_hangs_for_a_minute",
            "tests/faults/cluster/test_brokers_stopped.py"
            "::test_a_member_that_joins_at_a_coordinator_that_hangs_joins_its_successor",
        ),
    ),
    Row(
        "13",
        "all topic data lost",
        "I1 I4",
        tests=(
            "tests/edge_gateway/test_forward_faults.py"
            "::test_a_cluster_that_lost_everything_gets_what_is_unarchived_again",
            "tests/operations/test_replay.py"
            "::test_an_emptied_index_heals_from_the_bucket_row_for_row",
            "tests/faults/test_lab_runs.py::test_lost_log_directories_cost_nothing",
        ),
        soak=("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "13b",
        "payload expired before the archive read it",
        "I1",
        tests=(
            "tests/consumers/test_object_archive.py"
            "::test_payload_that_is_gone_is_asked_for_again_and_the_record_is_done",
            "tests/faults/test_lab_runs.py::test_expired_payload_is_noticed_and_published_again",
        ),
    ),
    Row(
        "14",
        "consumer kill -9 between write and commit",
        "I2",
        tests=(
            "tests/consumers/test_conformance.py"
            "::test_a_kill_between_write_and_commit_loses_and_doubles_nothing",
            "tests/faults/test_lab_runs.py::test_a_killed_archive_loses_and_doubles_nothing",
        ),
        soak=("tests/faults/test_soak.py::test_kills_between_write_and_commit",),
    ),
    Row(
        "15",
        "rebalance storm",
        "I2 I3 I10",
        tests=(
            "tests/consumers/test_runner.py::test_members_that_come_and_go_lose_nothing",
            "tests/consumers/test_conformance.py::test_a_rebalance_in_mid_batch_loses_nothing",
            "tests/faults/cluster/test_group_under_stress.py"
            "::test_members_that_come_and_go_leave_no_record_behind",
        ),
        soak=(
            "tests/faults/cluster/test_group_under_stress.py"
            "::test_members_that_come_and_go_for_five_minutes_leave_no_record_behind",
        ),
    ),
    Row(
        "16",
        "sink slower than max.poll.interval",
        "I10",
        tests=(
            "tests/consumers/test_conformance.py::test_a_rebalance_during_back_off_loses_nothing",
            "tests/consumers/test_packs_in_memory.py"
            "::test_a_batch_whose_packs_are_still_on_their_way_at_its_deadline_comes_again",
            "tests/faults/cluster/test_group_under_stress.py"
            "::test_a_sink_that_is_down_for_longer_than_the_poll_interval_costs_no_membership",
        ),
    ),
    Row(
        "17",
        "poison among good records",
        "I2",
        tests=(
            "tests/consumers/test_conformance.py"
            "::test_one_poison_among_many_is_a_dead_letter_and_the_others_are_written",
            "tests/consumers/test_runner.py"
            "::test_what_does_not_decode_is_a_dead_letter_byte_for_byte",
            "tests/faults/test_poison.py::test_one_percent_poison_is_set_aside_and_redriven_whole",
            "tests/faults/cluster/test_group_under_stress.py"
            "::test_nothing_is_committed_past_a_dead_letter_that_its_topic_does_not_take",
        ),
    ),
    Row(
        "18",
        "nothing but poison",
        "stops with a clear error, commits nothing past",
        tests=(
            "tests/consumers/test_runner.py"
            "::test_too_many_refusals_stop_the_consumer_with_nothing_committed",
            "tests/consumers/test_process.py::test_a_broken_deploy_ends_with_78_and_says_why",
        ),
    ),
    Row(
        "19",
        "the same study from two gateways",
        "I2",
        tests=(
            "tests/end_to_end/test_identity.py"
            "::test_the_same_study_from_two_sites_is_one_row_and_two_deliveries",
        ),
    ),
    Row(
        "20",
        "same UID, other pixels",
        "I2 I5",
        tests=(
            "tests/end_to_end/test_identity.py"
            "::test_other_pixels_under_one_uid_are_two_contents_and_one_conflict",
        ),
    ),
    Row(
        "21",
        "S3 answers 500, 503 or SlowDown to every tenth request",
        "I1 I10",
        tests=("tests/faults/test_lab_runs.py::test_errors_of_a_store_lose_nothing",),
        soak=("tests/faults/test_soak.py::test_a_store_fails_every_tenth_request",),
    ),
    Row(
        "22",
        "S3 connection dies after the body",
        "I1 I2",
        tests=(
            "tests/infra/test_object_store_failures.py"
            "::test_a_connection_that_dies_after_the_body_leaves_a_harmless_retry",
            "tests/faults/test_lab_runs.py"
            "::test_a_connection_that_dies_after_the_body_costs_nothing",
        ),
        soak=("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "23",
        "S3 stalls",
        "I6",
        tests=(
            "tests/infra/test_object_store_failures.py::test_a_stall_is_given_up",
            "tests/faults/test_lab_runs.py::test_a_stall_is_waited_out",
        ),
        soak=("tests/faults/test_soak.py::test_a_store_stalls_beyond_the_time_out",),
    ),
    Row(
        "24",
        "bit rot in the store",
        "verify --bytes finds every flipped object",
        tests=("tests/faults/test_bit_rot.py::test_every_flipped_object_is_found",),
    ),
    Row(
        "26",
        "ClickHouse down, read-only, too many parts",
        "I2 I10",
        tests=(
            "tests/consumers/test_conformance.py::test_sinks_that_are_down_are_waited_for",
            "tests/faults/test_lab_runs.py::test_too_many_parts_hold_the_line_without_a_storm",
            "tests/faults/test_lab_runs.py"
            "::test_a_table_that_is_read_only_holds_the_line_without_a_storm",
        ),
    ),
    Row(
        "27",
        "ClickHouse's answer lost after success",
        "I2",
        tests=("tests/faults/test_lab_runs.py::test_lost_answers_of_an_index_double_nothing",),
        soak=("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "28",
        "ClickHouse restored from an old backup",
        "I2",
        tests=(
            "tests/operations/test_replay.py::test_an_index_out_of_an_old_backup_heals",
            "tests/operations/test_replay.py"
            "::test_an_emptied_index_heals_from_the_topics_row_for_row",
            "tests/operations/test_replay.py::test_a_wrong_row_and_a_missing_row_are_found",
        ),
    ),
    Row(
        "29",
        "WAN to the second site cut, then slow",
        "I4 I10",
        tests=("tests/faults/test_lab_runs.py::test_a_cut_line_to_the_second_site_is_caught_up",),
        soak=("tests/faults/test_soak.py::test_the_line_to_the_second_site_is_cut_and_then_bad",),
    ),
    Row(
        "30",
        "split brain: both sites take images",
        "I4",
        tests=(
            "tests/faults/test_split_brain.py"
            "::test_both_sites_take_images_and_hold_the_union_after",
        ),
        soak=(
            "tests/faults/test_split_brain.py"
            "::test_sites_that_split_again_and_again_hold_the_union_each_time",
        ),
    ),
    Row(
        "31",
        "clock set by an hour",
        "I2 I3",
        tests=(
            "tests/consumers/test_usage_analytics.py"
            "::test_a_clock_set_back_does_not_keep_old_totals",
        ),
    ),
    Row(
        "44",
        "consumer out of memory",
        "I2 I10",
        tests=(
            "tests/consumers/test_out_of_memory.py"
            "::test_a_batch_that_memory_does_not_hold_is_halved_until_it_does",
        ),
    ),
)


def _place(row: Row) -> tuple[int, str]:
    digits = "".join(c for c in row.number.partition("-")[0] if c.isdigit())
    return int(digits), row.number


MATRIX: tuple[Row, ...] = tuple(sorted((*GATEWAY_ROWS, *PIPELINE_ROWS), key=_place))
