"""The arithmetic of a plan: a network's numbers and unit costs in, sizes out.

Invariant: pure; every row says its formula in words and the unit costs it used, and is computed
for the last year of the plan unless it says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from contracts.topics import PAYLOAD, RECEIVED
from load.planning.flow import DAY_S, HOUR_S, Flow, PlanRow
from load.planning.options import PlanOptions
from load.planning.unit_costs import UnitCost

DAYS_A_YEAR = 365.0
# One study's records go to one partition: the fullest holds more than the mean.
PARTITION_SKEW = 2.0
# So that a group can double without moving keys to other partitions.
PARTITIONS_PER_CONSUMER = 2
BROKERS_MIN = 3
# How full a disk may be when it is as full as planned.
DISK_FILL_MAX = 0.75
# Frames, TCP and TLS, and Avro around a chunk of 960 KiB.
WIRE_OVERHEAD = 1.05
MBIT_BYTES = 1e6 / 8


def plan(options: PlanOptions, costs: Mapping[str, UnitCost]) -> tuple[PlanRow, ...]:
    """Every size of the network."""
    flow = Flow(options)
    consumers = _consumers(flow, costs)
    return (
        *_flows(flow),
        *consumers,
        *_kafka(flow, costs, max(int(row.value) for row in consumers)),
        *_site(flow),
        *_stores(flow, costs),
        *_lines(flow),
    )


def _flows(flow: Flow) -> tuple[PlanRow, ...]:
    o = flow.options
    grown = f"× {flow.growth:.2f} after {o.years} years"
    return (
        PlanRow(
            "instances_a_day",
            "instances a day",
            flow.instances_a_day,
            "",
            f"{o.studies_per_day:g} studies × {o.instances_per_study:g} {grown}",
        ),
        PlanRow(
            "bytes_a_day", "data sets a day", flow.bytes_a_day / 1e12, "TB", "instances × mean size"
        ),
        PlanRow(
            "instances_a_second",
            "instances a second, busiest hour",
            flow.instances_a_second,
            "1/s",
            f"a day's × {o.peak_hour_share:g} / 3,600 s",
        ),
        PlanRow(
            "mb_a_second",
            "data sets a second, busiest hour",
            flow.bytes_a_second / 1e6,
            "MB/s",
            f"a day's × {o.peak_hour_share:g} / 3,600 s",
        ),
    )


def _consumers(flow: Flow, costs: Mapping[str, UnitCost]) -> tuple[PlanRow, ...]:
    o = flow.options
    archive_s = costs["archive_cpu_ms"].value / 1e3
    archive_busy = flow.instances_a_second * archive_s
    archive_busy += flow.bytes_a_second / 1e9 * costs["archive_cpu_s_per_gb"].value
    index_busy = flow.instances_a_second * costs["index_ms"].value / 1e3
    text = f"busy cores in the busiest hour / {o.load_max:g}"
    archive = PlanRow(
        "object_archive_consumers",
        "object-archive, members of the group",
        _at_least_one(archive_busy / o.load_max),
        "",
        f"(instances × CPU + GB × CPU), {text}",
        ("archive_cpu_ms", "archive_cpu_s_per_gb"),
    )
    index = PlanRow(
        "metadata_index_consumers",
        "metadata-index, members of the group",
        _at_least_one(index_busy / o.load_max),
        "",
        f"instances × time, {text}",
        ("index_ms",),
    )
    if not o.dr:
        return archive, index
    # It reads each pack once, hashes it, stores it and indexes it from the manifest: the work of
    # both others without Kafka's payload.
    replica = PlanRow(
        "dr_replica_consumers",
        "dr-replica, members of the group",
        _at_least_one((archive_busy + index_busy) / o.load_max),
        "",
        "copies and indexes: the sum of both others' busy cores",
        ("archive_cpu_ms", "archive_cpu_s_per_gb", "index_ms"),
    )
    return archive, index, replica


def _kafka(flow: Flow, costs: Mapping[str, UnitCost], consumers: int) -> tuple[PlanRow, ...]:
    o = flow.options
    partitions = max(PAYLOAD.partitions, PARTITIONS_PER_CONSUMER * consumers)
    payload = flow.bytes_a_day * WIRE_OVERHEAD * o.payload_hours / 24
    events = costs["event_bytes"].value * flow.instances_a_day * DAYS_A_YEAR
    disk = o.replication_factor * (payload + events * max(o.years, 1)) / DISK_FILL_MAX
    # Written once and copied to every other replica, and read once by the archive.
    moved = flow.bytes_a_second * WIRE_OVERHEAD * (o.replication_factor + 1)
    by_rate = moved / (costs["broker_mb_s"].value * 1e6 * o.load_max)
    by_disk = disk / (o.broker_disk_tb * 1e12)
    brokers = max(BROKERS_MIN, o.replication_factor, math.ceil(by_rate), math.ceil(by_disk))
    return (
        PlanRow(
            "partitions",
            "partitions of each imaging topic",
            partitions,
            "",
            f"the larger of {RECEIVED.partitions} (as shipped) and {PARTITIONS_PER_CONSUMER}"
            " × the largest group; more must be set before the topics are made",
        ),
        PlanRow(
            "brokers",
            "Kafka brokers",
            brokers,
            "",
            f"the largest of {BROKERS_MIN}, replication factor, MB/s moved"
            f" (× {o.replication_factor + 1}) / broker at {o.load_max:g} = {by_rate:.2f}, disk /"
            f" {o.broker_disk_tb:g} TB = {by_disk:.2f}",
            ("broker_mb_s", "event_bytes"),
        ),
        PlanRow(
            "payload_retention_gib",
            "kafka.payload_retention_bytes, each partition",
            math.ceil(payload * PARTITION_SKEW / partitions / 2**30),
            "GiB",
            f"{o.payload_hours:g} h of bytes × {PARTITION_SKEW:g} for the fullest / partitions",
        ),
        PlanRow(
            "payload_retention_hours",
            "kafka.payload_retention_ms",
            o.payload_hours,
            "h",
            "as asked; what an archive that stands still may take before sites publish again",
        ),
        PlanRow(
            "kafka_disk_tb",
            "Kafka disks, all brokers",
            disk / 1e12,
            "TB",
            f"(payload of {o.payload_hours:g} h + events of {max(o.years, 1)} years)"
            f" × {o.replication_factor} / {DISK_FILL_MAX:g}",
            ("event_bytes",),
        ),
    )


def _site(flow: Flow) -> tuple[PlanRow, ...]:
    o = flow.options
    a_day = flow.bytes_a_day * o.site_share
    hours = o.outage_hours + o.hold_hours
    return (
        PlanRow(
            "spool_tb_largest_site",
            "spool of the busiest site",
            a_day * hours / 24 / DISK_FILL_MAX / 1e12,
            "TB",
            f"its {o.site_share:.1%} of a day × ({o.outage_hours:g} h outage +"
            f" {o.hold_hours:g} h hold) / 24 / {DISK_FILL_MAX:g}",
        ),
        PlanRow(
            "spool_tb_mean_site",
            "spool of a mean site",
            flow.bytes_a_day / o.sites * hours / 24 / DISK_FILL_MAX / 1e12,
            "TB",
            f"a day / {o.sites} sites, else the same",
        ),
    )


def _stores(flow: Flow, costs: Mapping[str, UnitCost]) -> tuple[PlanRow, ...]:
    o = flow.options
    instances = flow.instances_a_day * DAYS_A_YEAR
    archive = flow.bytes_a_day * DAYS_A_YEAR + instances * costs["pack_overhead_bytes"].value
    index = instances * costs["index_bytes"].value
    rows = [
        PlanRow(
            "archive_tb_a_year",
            "object store, primary, a year",
            archive / 1e12,
            "TB",
            "instances × (mean size + pack overhead) × 365, before the store's own redundancy",
            ("pack_overhead_bytes",),
        ),
        PlanRow(
            "index_rows_a_year",
            "ClickHouse rows of instances, a year",
            instances / 1e6,
            "million",
            "instances × 365",
        ),
        PlanRow(
            "index_gb_a_year",
            "ClickHouse disk, primary, a year",
            index / 1e9 / DISK_FILL_MAX,
            "GB",
            f"rows × bytes on disk / {DISK_FILL_MAX:g}, a replica",
            ("index_bytes",),
        ),
    ]
    if o.dr:
        text = "the same packs under the same keys; the index is built again from them"
        rows += [
            PlanRow(
                "dr_archive_tb_a_year",
                "object store, second site, a year",
                archive / 1e12,
                "TB",
                text,
                ("pack_overhead_bytes",),
            ),
            PlanRow(
                "dr_index_gb_a_year",
                "ClickHouse disk, second site, a year",
                index / 1e9 / DISK_FILL_MAX,
                "GB",
                text,
                ("index_bytes",),
            ),
        ]
    return tuple(rows)


def _lines(flow: Flow) -> tuple[PlanRow, ...]:
    o = flow.options
    largest = flow.bytes_a_second * o.site_share * WIRE_OVERHEAD
    mean = flow.bytes_a_day / DAY_S * WIRE_OVERHEAD
    behind = mean * o.site_share * o.outage_hours * HOUR_S
    catching_up = mean * o.site_share + behind / (o.catch_up_hours * HOUR_S)
    needed = max(largest, catching_up) / MBIT_BYTES
    rows = [
        PlanRow(
            "wan_mbit_largest_site",
            "line of the busiest site",
            needed,
            "Mbit/s",
            f"the larger of its busiest hour ({largest / MBIT_BYTES:.1f}) and catching up"
            f" {o.outage_hours:g} h within {o.catch_up_hours:g} h"
            f" ({catching_up / MBIT_BYTES:.1f}), × {WIRE_OVERHEAD:g}",
        ),
        PlanRow(
            "wan_mbit_centre",
            "line of the centre, inward",
            flow.bytes_a_second * WIRE_OVERHEAD / MBIT_BYTES,
            "Mbit/s",
            f"all sites in the busiest hour × {WIRE_OVERHEAD:g}",
        ),
    ]
    if o.dr:
        rows.append(
            PlanRow(
                "wan_mbit_dr",
                "line to the second site",
                mean * (1 + o.outage_hours / o.catch_up_hours) / MBIT_BYTES,
                "Mbit/s",
                f"a mean day and {o.outage_hours:g} h caught up within {o.catch_up_hours:g} h",
            )
        )
    if o.wan_mbit is not None:
        rows.append(
            PlanRow(
                "wan_use",
                f"use of {o.wan_mbit:g} Mbit/s by the busiest site",
                needed / o.wan_mbit * 100,
                "%",
                "line needed / line there; above 100 the spool grows",
            )
        )
    return tuple(rows)


def _at_least_one(cores: float) -> int:
    return max(1, math.ceil(cores))
