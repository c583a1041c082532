"""The fault matrix: each row with the tests that show it.

Invariant: a flat literal list, one entry a row, so that branches that add rows merge; a row without
a test says so by an empty tuple. `test_matrix` holds every named test to exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `tests` run in `hilum test`, `soak` in `hilum test --soak`, by node id."""

    number: str
    fault: str
    holds: str
    tests: tuple[str, ...] = ()
    soak: tuple[str, ...] = ()


MATRIX: tuple[Row, ...] = (
    Row(
        "1",
        "gateway kill -9 during C-STORE",
        "I1 I5 I6",
        (
            "tests/edge_gateway/spool/test_kill.py::test_killed_receiver_loses_nothing_it_acknowledged",
            "tests/edge_gateway/test_receive_process.py::test_what_was_acknowledged_before_a_kill_is_recovered",
        ),
        ("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "2",
        "power loss at any write",
        "I1",
        (
            "tests/edge_gateway/spool/test_power_loss.py::test_no_power_loss_loses_an_acknowledged_delivery_or_invents_one",
        ),
    ),
    Row(
        "3",
        "spool disk full",
        "I1 I9",
        (
            "tests/edge_gateway/spool/test_disk_faults.py::test_real_full_disk_with_default_watermarks",
            "tests/edge_gateway/test_bad_input.py::test_a_full_spool_answers_a700_then_rejects_then_heals",
        ),
    ),
    Row(
        "4",
        "spool EIO, read-only",
        "I1",
        (
            "tests/edge_gateway/spool/test_disk_faults.py::test_disk_error_stops_every_acknowledgement_for_good",
            "tests/edge_gateway/test_bad_input.py::test_a_broken_disk_acknowledges_nothing_any_more",
        ),
    ),
    Row(
        "5",
        "torn or flipped spool tail",
        "I1 I5",
        (
            "tests/edge_gateway/spool/test_record.py::test_any_flipped_bit_is_found",
            "tests/edge_gateway/spool/test_recovery.py::TestTornTail::test_flip_of_a_flushed_byte_is_found_and_never_sent_as_good",
            "tests/edge_gateway/test_forward.py::test_rotten_bytes_are_never_published_and_hold_up_nobody",
        ),
    ),
    Row(
        "6",
        "descriptors or inodes used up",
        "I6 I9",
        (
            "tests/edge_gateway/spool/test_disk_faults.py::test_lack_of_descriptors_or_quota_is_no_broken_disk",
        ),
    ),
    Row(
        "7",
        "Kafka down",
        "I1 I6 I10",
        (
            "tests/edge_gateway/test_forward_faults.py::test_it_starts_while_kafka_is_down_and_catches_up_by_itself",
            "tests/faults/test_lab_runs.py::test_a_killed_broker_is_waited_for",
        ),
        ("tests/faults/test_soak.py::test_kafka_is_down_for_long",),
    ),
    Row(
        "8",
        "Kafka down at gateway start",
        "I1",
        (
            "tests/edge_gateway/test_receive_process.py::test_it_starts_and_answers_with_everything_else_down",
            "tests/edge_gateway/test_forward_faults.py::test_it_starts_while_kafka_is_down_and_catches_up_by_itself",
        ),
    ),
    Row(
        "9",
        "partition leader kill -9 every 10 s, three brokers",
        "I1 I3",
    ),
    Row(
        "10",
        "fewer in-sync replicas than required, three brokers",
        "I1",
    ),
    Row(
        "11",
        "broker SIGSTOP 60 s",
        "I1 I9",
        ("tests/faults/test_lab_runs.py::test_a_broker_that_hangs_delays_no_answer",),
        ("tests/faults/test_soak.py::test_a_broker_hangs_for_a_minute",),
    ),
    Row(
        "13",
        "all topic data lost",
        "I1 I4",
        (
            "tests/edge_gateway/test_forward_faults.py::test_a_cluster_that_lost_everything_gets_what_is_unarchived_again",
            "tests/operations/test_replay.py::test_an_emptied_index_heals_from_the_bucket_row_for_row",
            "tests/faults/test_lab_runs.py::test_lost_log_directories_cost_nothing",
        ),
        ("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "13b",
        "payload expired before the archive read it",
        "I1",
        (
            "tests/consumers/test_object_archive.py::test_payload_that_is_gone_is_asked_for_again_and_the_record_is_done",
            "tests/faults/test_lab_runs.py::test_expired_payload_is_noticed_and_published_again",
        ),
    ),
    Row(
        "14",
        "consumer kill -9 between write and commit",
        "I2",
        (
            "tests/consumers/test_conformance.py::test_a_kill_between_write_and_commit_loses_and_doubles_nothing",
            "tests/faults/test_lab_runs.py::test_a_killed_archive_loses_and_doubles_nothing",
        ),
        ("tests/faults/test_soak.py::test_kills_between_write_and_commit",),
    ),
    Row(
        "15",
        "rebalance storm",
        "I2 I3 I10",
        (
            "tests/consumers/test_runner.py::test_members_that_come_and_go_lose_nothing",
            "tests/consumers/test_conformance.py::test_a_rebalance_in_mid_batch_loses_nothing",
        ),
    ),
    Row(
        "16",
        "sink slower than max.poll.interval",
        "I10",
        (
            "tests/consumers/test_conformance.py::test_a_rebalance_during_back_off_loses_nothing",
            "tests/consumers/test_packs_in_memory.py::test_a_batch_whose_packs_are_still_on_their_way_at_its_deadline_comes_again",
        ),
    ),
    Row(
        "17",
        "poison among good records",
        "I2",
        (
            "tests/consumers/test_conformance.py::test_one_poison_among_many_is_a_dead_letter_and_the_others_are_written",
            "tests/consumers/test_runner.py::test_what_does_not_decode_is_a_dead_letter_byte_for_byte",
            "tests/faults/test_poison.py::test_one_percent_poison_is_set_aside_and_redriven_whole",
        ),
    ),
    Row(
        "18",
        "nothing but poison",
        "stops with a clear error, commits nothing past",
        (
            "tests/consumers/test_runner.py::test_too_many_refusals_stop_the_consumer_with_nothing_committed",
            "tests/consumers/test_process.py::test_a_broken_deploy_ends_with_78_and_says_why",
        ),
    ),
    Row(
        "19",
        "the same study from two gateways",
        "I2",
        (
            "tests/end_to_end/test_identity.py::test_the_same_study_from_two_sites_is_one_row_and_two_deliveries",
        ),
    ),
    Row(
        "20",
        "same UID, other pixels",
        "I2 I5",
        (
            "tests/end_to_end/test_identity.py::test_other_pixels_under_one_uid_are_two_contents_and_one_conflict",
        ),
    ),
    Row(
        "21",
        "S3 answers 500, 503 or SlowDown to every tenth request",
        "I1 I10",
        ("tests/faults/test_lab_runs.py::test_errors_of_a_store_lose_nothing",),
        ("tests/faults/test_soak.py::test_a_store_fails_every_tenth_request",),
    ),
    Row(
        "22",
        "S3 connection dies after the body",
        "I1 I2",
        (
            "tests/infra/test_object_store_failures.py::test_a_connection_that_dies_after_the_body_leaves_a_harmless_retry",
            "tests/faults/test_lab_runs.py::test_a_connection_that_dies_after_the_body_costs_nothing",
        ),
        ("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "23",
        "S3 stalls",
        "I6",
        (
            "tests/infra/test_object_store_failures.py::test_a_stall_is_given_up",
            "tests/faults/test_lab_runs.py::test_a_stall_is_waited_out",
        ),
        ("tests/faults/test_soak.py::test_a_store_stalls_beyond_the_time_out",),
    ),
    Row(
        "24",
        "bit rot in the store",
        "verify --bytes finds every flipped object",
        ("tests/faults/test_bit_rot.py::test_every_flipped_object_is_found",),
    ),
    Row(
        "26",
        "ClickHouse down, read-only, too many parts",
        "I2 I10",
        (
            "tests/consumers/test_conformance.py::test_sinks_that_are_down_are_waited_for",
            "tests/faults/test_lab_runs.py::test_too_many_parts_hold_the_line_without_a_storm",
            "tests/faults/test_lab_runs.py::test_a_table_that_is_read_only_holds_the_line_without_a_storm",
        ),
    ),
    Row(
        "27",
        "ClickHouse's answer lost after success",
        "I2",
        ("tests/faults/test_lab_runs.py::test_lost_answers_of_an_index_double_nothing",),
        ("tests/faults/test_soak.py::test_storm",),
    ),
    Row(
        "28",
        "ClickHouse restored from an old backup",
        "I2",
        (
            "tests/operations/test_replay.py::test_an_emptied_index_heals_from_the_topics_row_for_row",
            "tests/operations/test_replay.py::test_a_wrong_row_and_a_missing_row_are_found",
        ),
    ),
    Row(
        "29",
        "WAN to the second site cut, then slow",
        "I4 I10",
        ("tests/faults/test_lab_runs.py::test_a_cut_line_to_the_second_site_is_caught_up",),
        ("tests/faults/test_soak.py::test_the_line_to_the_second_site_is_cut_and_then_bad",),
    ),
    Row(
        "30",
        "split brain: both sites take images",
        "I4",
    ),
    Row(
        "31",
        "clock set by an hour",
        "I2 I3",
        (
            "tests/consumers/test_usage_analytics.py::test_a_clock_set_back_does_not_keep_old_totals",
        ),
    ),
    Row(
        "32-35",
        "hostile peers",
        "I6 I9",
        (
            "tests/edge_gateway/association/test_hostile_peers.py::test_a_good_sender_beside_a_crowd_is_answered_and_nothing_stays",
            "tests/edge_gateway/association/test_hostile_associations.py::test_a_broken_rule_inside_an_association_ends_it",
            "tests/edge_gateway/association/test_hostile_requests.py::test_random_bytes_never_stop_the_gateway",
        ),
    ),
    Row(
        "36",
        "malformed data sets",
        "I5 I6",
        (
            "tests/edge_gateway/scan/test_hostile.py::test_mutated_bytes_never_raise_and_obey_the_limits",
            "tests/edge_gateway/test_bad_input.py::test_what_cannot_be_read_is_kept_before_it_is_refused",
        ),
    ),
    Row(
        "37",
        "traversal UIDs and hostile texts",
        "I5 I7",
        (
            "tests/consumers/test_object_archive.py::test_what_is_not_what_was_hashed_is_refused_by_name",
            "tests/consumers/test_index_deliveries.py::test_hostile_texts_are_kept_as_they_are",
            "tests/edge_gateway/test_logs.py::test_names_of_patients_are_in_no_log_line_of_either_process",
        ),
    ),
    Row(
        "39",
        "certificates changed under load",
        "I9",
        (
            "tests/edge_gateway/association/test_tls_certificates.py::test_files_that_change_are_taken_with_nothing_dropped",
            "tests/edge_gateway/association/test_tls_certificates.py::test_sighup_renews_in_the_running_process",
        ),
    ),
    Row(
        "44",
        "consumer out of memory",
        "I2 I10",
    ),
    Row(
        "47",
        "a copied spool, a wrong bucket",
        "I1",
        (
            "tests/edge_gateway/test_forward.py::test_a_copied_spool_publishes_nothing_and_says_so",
            "tests/infra/test_provision.py::test_another_archives_bucket_is_refused",
        ),
    ),
    Row(
        "48",
        "gateway's disk lost before the archive has it",
        "exactly the unarchived are named by receipts",
    ),
)
