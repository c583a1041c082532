"""Every metric of Hilum: name, kind, labels and meaning, in one typed list.

Invariant: a metric that is not here does not exist (the tidy test looks); labels never carry a
UID or anything of a patient, and AE titles only from the allow-list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricName = Literal[
    "hilum_ready",
    "hilum_association_total",
    "hilum_association_active",
    "hilum_association_rejected_total",
    "hilum_certificate_expires_timestamp_seconds",
    "hilum_store_response_total",
    "hilum_store_received_bytes_total",
    "hilum_store_seconds",
    "hilum_store_level_total",
    "hilum_spool_bytes",
    "hilum_spool_flush_total",
    "hilum_spool_deliveries",
    "hilum_spool_oldest_unarchived_seconds",
    "hilum_forward_published_total",
    "hilum_forward_published_bytes_total",
    "hilum_forward_republished_total",
    "hilum_forward_custody_total",
    "hilum_forward_set_aside_total",
    "hilum_forward_window_bytes",
    "hilum_forward_in_flight_bytes",
    "hilum_forward_bandwidth_limit_bytes_per_s",
    "hilum_scan_incomplete_total",
    "hilum_commitment_response_total",
    "hilum_commitment_requests",
    "hilum_commitment_reference_total",
    "hilum_commitment_report_total",
    "hilum_consumer_records_total",
    "hilum_consumer_batch_seconds",
    "hilum_consumer_retries_total",
    "hilum_consumer_batch_halvings",
    "hilum_consumer_dead_letters_total",
    "hilum_consumer_lag_records",
    "hilum_consumer_idle_seconds",
    "hilum_consumer_rejoined_total",
    "hilum_pack_written_total",
    "hilum_pack_written_bytes_total",
    "hilum_pack_refused_total",
    "hilum_pack_replicated_total",
    "hilum_packs_merged_total",
    "hilum_packs_collected_total",
    "hilum_packs_collected_bytes_total",
    "hilum_packs_damaged",
    "hilum_packs_night_timestamp_seconds",
    "hilum_payload_gone_total",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Units stand last in the name, as Prometheus wants them."""

    name: MetricName
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric("hilum_ready", "gauge", "1 while the process does its work, else 0"),
    Metric("hilum_association_total", "counter", "associations by how they ended", ("ended",)),
    Metric("hilum_association_active", "gauge", "associations established now"),
    Metric("hilum_association_rejected_total", "counter", "A-ASSOCIATE-RJ sent", ("reason",)),
    Metric(
        "hilum_certificate_expires_timestamp_seconds",
        "gauge",
        "when a TLS file in force ends, Unix time",
        ("certificate",),
    ),
    Metric("hilum_store_response_total", "counter", "C-STORE responses by status", ("status",)),
    Metric("hilum_store_received_bytes_total", "counter", "data set bytes answered 0000"),
    Metric("hilum_store_seconds", "histogram", "last fragment to C-STORE response"),
    Metric(
        "hilum_store_level_total",
        "counter",
        "data sets that waited for a level above disk, by what came of it",
        ("level", "outcome"),
    ),
    Metric("hilum_spool_bytes", "gauge", "bytes that the spool occupies, free segments aside"),
    Metric("hilum_spool_flush_total", "counter", "flushes of the spool"),
    Metric("hilum_spool_deliveries", "gauge", "deliveries by state", ("state",)),
    Metric(
        "hilum_spool_oldest_unarchived_seconds", "gauge", "age of the oldest unarchived delivery"
    ),
    Metric("hilum_forward_published_total", "counter", "deliveries whose event was acknowledged"),
    Metric("hilum_forward_published_bytes_total", "counter", "data set bytes published"),
    Metric("hilum_forward_republished_total", "counter", "deliveries sent again", ("cause",)),
    Metric("hilum_forward_custody_total", "counter", "custody by what it said", ("outcome",)),
    Metric("hilum_forward_set_aside_total", "counter", "deliveries put off", ("reason",)),
    Metric("hilum_forward_window_bytes", "gauge", "published and not yet archived bytes"),
    Metric("hilum_forward_in_flight_bytes", "gauge", "bytes sent and not yet acknowledged"),
    Metric(
        "hilum_forward_bandwidth_limit_bytes_per_s",
        "gauge",
        "payload bytes a second that the settings let out now",
    ),
    Metric("hilum_scan_incomplete_total", "counter", "headers not read wholly", ("reason",)),
    Metric("hilum_commitment_response_total", "counter", "N-ACTION responses", ("status",)),
    Metric("hilum_commitment_requests", "gauge", "commitment requests by state", ("state",)),
    Metric(
        "hilum_commitment_reference_total", "counter", "instances by what was decided", ("outcome",)
    ),
    Metric("hilum_commitment_report_total", "counter", "reports by what came of it", ("outcome",)),
    Metric("hilum_consumer_records_total", "counter", "records by outcome", ("outcome",)),
    Metric("hilum_consumer_batch_seconds", "histogram", "write of one batch"),
    Metric("hilum_consumer_retries_total", "counter", "batches written again after a failure"),
    Metric(
        "hilum_consumer_batch_halvings",
        "gauge",
        "times the batch was halved since the start because memory ran out",
    ),
    Metric("hilum_consumer_dead_letters_total", "counter", "dead letters", ("reason",)),
    Metric("hilum_consumer_lag_records", "gauge", "records not yet committed", ("topic",)),
    Metric(
        "hilum_consumer_idle_seconds",
        "gauge",
        "polling time since the stillest partition with records ahead was read, or a share given",
    ),
    Metric(
        "hilum_consumer_rejoined_total",
        "counter",
        "new connections because a partition with records was not read or no share given for 30 s",
    ),
    Metric("hilum_pack_written_total", "counter", "packs stored", ("area",)),
    Metric("hilum_pack_written_bytes_total", "counter", "bytes of packs stored"),
    Metric("hilum_pack_refused_total", "counter", "packs the store refuses for good"),
    Metric("hilum_pack_replicated_total", "counter", "packs verified at the second site"),
    Metric("hilum_packs_merged_total", "counter", "small packs that became part of a merged one"),
    Metric("hilum_packs_collected_total", "counter", "superfluous packs removed"),
    Metric("hilum_packs_collected_bytes_total", "counter", "bytes of packs removed, at one site"),
    Metric("hilum_packs_damaged", "gauge", "packs that the last night found damaged"),
    Metric(
        "hilum_packs_night_timestamp_seconds", "gauge", "end of the last whole night, Unix time"
    ),
    Metric("hilum_payload_gone_total", "counter", "deliveries asked to be republished"),
)
