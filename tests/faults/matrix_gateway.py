"""Rows of the fault matrix that end at the gateway: its processes, its disk, its peers."""

from __future__ import annotations

from tests.faults.matrix_row import Row

GATEWAY_ROWS: tuple[Row, ...] = (
    Row(
        "1",
        "gateway kill -9 during C-STORE",
        "I1 I5 I6",
        tests=(
            "tests/edge_gateway/spool/test_kill.py"
            "::test_killed_receiver_loses_nothing_it_acknowledged",
            "tests/edge_gateway/test_receive_process.py"
            "::test_what_was_acknowledged_before_a_kill_is_recovered",
        ),
        soak=(
            "tests/edge_gateway/spool/test_kill.py"
            "::test_five_hundred_kills_lose_nothing_acknowledged",
            "tests/faults/test_soak.py::test_storm",
        ),
    ),
    Row(
        "2",
        "power loss at any write",
        "I1",
        tests=(
            "tests/edge_gateway/spool/test_power_loss.py"
            "::test_no_power_loss_loses_an_acknowledged_delivery_or_invents_one",
        ),
    ),
    Row(
        "3",
        "spool disk full",
        "I1 I9",
        tests=(
            "tests/edge_gateway/spool/test_disk_faults.py"
            "::test_real_full_disk_with_default_watermarks",
            "tests/edge_gateway/test_bad_input.py"
            "::test_a_full_spool_answers_a700_then_rejects_then_heals",
        ),
    ),
    Row(
        "4",
        "spool EIO, read-only",
        "I1",
        tests=(
            "tests/edge_gateway/spool/test_disk_faults.py"
            "::test_disk_error_stops_every_acknowledgement_for_good",
            "tests/edge_gateway/test_bad_input.py"
            "::test_a_broken_disk_acknowledges_nothing_any_more",
        ),
    ),
    Row(
        "5",
        "torn or flipped spool tail",
        "I1 I5",
        tests=(
            "tests/edge_gateway/spool/test_record.py::test_any_flipped_bit_is_found",
            "tests/edge_gateway/spool/test_recovery.py"
            "::TestTornTail::test_flip_of_a_flushed_byte_is_found_and_never_sent_as_good",
            "tests/edge_gateway/test_forward.py"
            "::test_rotten_bytes_are_never_published_and_hold_up_nobody",
        ),
    ),
    Row(
        "6",
        "descriptors or inodes used up",
        "I6 I9",
        tests=(
            "tests/edge_gateway/spool/test_disk_faults.py"
            "::test_lack_of_descriptors_or_quota_is_no_broken_disk",
        ),
    ),
    Row(
        "32-35",
        "hostile peers",
        "I6 I9",
        tests=(
            "tests/edge_gateway/association/test_hostile_peers.py"
            "::test_a_good_sender_beside_a_crowd_is_answered_and_nothing_stays",
            "tests/edge_gateway/association/test_hostile_associations.py"
            "::test_a_broken_rule_inside_an_association_ends_it",
            "tests/edge_gateway/association/test_hostile_requests.py"
            "::test_random_bytes_never_stop_the_gateway",
        ),
    ),
    Row(
        "36",
        "malformed data sets",
        "I5 I6",
        tests=(
            "tests/edge_gateway/scan/test_hostile.py"
            "::test_mutated_bytes_never_raise_and_obey_the_limits",
            "tests/edge_gateway/test_bad_input.py"
            "::test_what_cannot_be_read_is_kept_before_it_is_refused",
        ),
    ),
    Row(
        "37",
        "traversal UIDs and hostile texts",
        "I5 I7",
        tests=(
            "tests/consumers/test_object_archive.py"
            "::test_what_is_not_what_was_hashed_is_refused_by_name",
            "tests/consumers/test_index_deliveries.py::test_hostile_texts_are_kept_as_they_are",
            "tests/edge_gateway/test_logs.py"
            "::test_names_of_patients_are_in_no_log_line_of_either_process",
        ),
    ),
    Row(
        "39",
        "certificates changed under load",
        "I9",
        tests=(
            "tests/edge_gateway/association/test_tls_certificates.py"
            "::test_files_that_change_are_taken_with_nothing_dropped",
            "tests/edge_gateway/association/test_tls_certificates.py"
            "::test_sighup_renews_in_the_running_process",
        ),
    ),
    Row(
        "47",
        "a copied spool, a wrong bucket",
        "I1",
        tests=(
            "tests/edge_gateway/test_forward.py::test_a_copied_spool_publishes_nothing_and_says_so",
            "tests/infra/test_provision.py::test_another_archives_bucket_is_refused",
            "tests/infra/test_provision.py"
            "::test_no_process_writes_into_a_bucket_that_is_not_its_own",
        ),
    ),
    Row(
        "48",
        "gateway's disk lost before the archive has it",
        "exactly the unarchived are named by receipts",
        tests=(
            "tests/faults/test_disk_lost.py"
            "::test_exactly_what_no_archive_has_is_named_after_a_disk_was_lost",
            "tests/faults/cluster/test_spool_lost.py"
            "::test_what_was_answered_at_level_kafka_outlives_the_disk_and_a_broker",
        ),
    ),
)
