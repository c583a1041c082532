"""Creates Hilum's topics and holds their settings to the topic table.

Invariant: idempotent; what it changes it says. It never deletes a topic and never changes a number
of partitions: keys would move to other partitions, so that is a person's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidReplicationFactorError, TopicAlreadyExistsError

from contracts import topics
from contracts.failures import FatalError, RetryableError
from infra.broker_errors import translated
from infra.cluster_view import admin_client
from infra.settings import KafkaSettings

TopicPlan = tuple[int, dict[str, str]]  # partitions, configuration
Drift = dict[str, tuple[str, str]]  # by the setting's name: what is, what is wanted
# A compacted topic is only cleaned behind its active segment; without this it would keep a week.
COMPACTED_SEGMENT_MS = topics.HOUR_MS

# A busy broker takes a while to lead 150 new partitions (the client's own wait is 10 s).
TOPICS_READY_WITHIN_MS = 60_000


@dataclass(frozen=True, slots=True)
class TopicsState:
    """What the cluster has, beside what the topic table wants; topics by their names on the wire.

    `different` says each setting and number of partitions that is another, `too_few_in_sync` the
    topics that take no record with acks=all now.
    """

    brokers: int
    wanted: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    too_few_in_sync: tuple[str, ...]


def topics_state(kafka: KafkaSettings) -> TopicsState:
    """How the topics are, changing nothing. Raises RetryableError, FatalError (rights)."""
    plans = _all_plans(kafka)
    admin = admin_client(kafka)
    try:
        with translated("looking at the topics"):
            brokers = len(admin.describe_cluster()["brokers"])
            rows = [row for row in admin.describe_topics(list(plans)) if row["error_code"] == 0]
            existing = {row["name"]: len(row["partitions"]) for row in rows}
            drifts = _drifts(admin, {name: plans[name] for name in existing})
    finally:
        admin.close()
    return TopicsState(
        brokers=brokers,
        wanted=len(plans),
        missing=tuple(name for name in plans if name not in existing),
        different=(*_wrong_partitions(plans, existing), *_drift_lines(drifts)),
        too_few_in_sync=tuple(
            row["name"]
            for row in rows
            if any(len(p["isr_nodes"]) < kafka.min_insync_replicas for p in row["partitions"])
        ),
    )


def provision_topics(kafka: KafkaSettings) -> list[str]:
    """Every topic and dead-letter topic is there with its settings; says what was changed.

    Raises FatalError (another number of partitions, too few brokers, rights), RetryableError.
    """
    plans = _all_plans(kafka)
    admin = admin_client(kafka)
    try:
        with translated("provisioning topics"):
            _require_brokers(admin, kafka)
            existing = _existing(admin, plans)
            created = _create(admin, plans, existing, kafka)
            _require_partitions(plans, existing)
            return created + _align(admin, {name: plans[name] for name in existing})
    finally:
        admin.close()


def _all_plans(kafka: KafkaSettings) -> dict[str, TopicPlan]:
    return {
        kafka.topic_prefix + name: plan
        for topic in topics.TOPICS
        for name, plan in _plans(topic, kafka).items()
    }


def _plans(topic: topics.Topic, kafka: KafkaSettings) -> dict[str, TopicPlan]:
    is_payload = topic is topics.PAYLOAD
    configuration = _configuration(
        kafka,
        topic,
        kafka.payload_retention_ms if is_payload else topic.retention_ms,
        kafka.payload_retention_bytes if is_payload else topic.retention_bytes,
    )
    if topic.is_compacted:
        configuration |= {"cleanup.policy": "compact", "segment.ms": str(COMPACTED_SEGMENT_MS)}
    dead = _configuration(kafka, topic, topics.DLQ_RETENTION_MS, topics.FOREVER)
    dead["max.message.bytes"] = str(topic.message_bytes_max + topics.DLQ_HEADERS_BYTES_MAX)
    return {
        topic.name: (topic.partitions, configuration),
        topic.dlq_name: (topics.DLQ_PARTITIONS, dead),
    }


def _configuration(
    kafka: KafkaSettings, topic: topics.Topic, retention_ms: int, retention_bytes: int
) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": str(retention_bytes),
        "compression.type": topic.compression,
        "max.message.bytes": str(topic.message_bytes_max),
        "min.insync.replicas": str(kafka.min_insync_replicas),
        # By the producer's clock a gateway that is a day slow would have its payload deleted at
        # once, and the records of one that is an hour fast would be refused.
        "message.timestamp.type": "LogAppendTime",
    }


def _require_brokers(admin: Any, kafka: KafkaSettings) -> None:
    brokers = len(admin.describe_cluster()["brokers"])
    if kafka.replication_factor > brokers:
        raise FatalError(
            f"kafka.replication_factor is {kafka.replication_factor}, "
            f"but the cluster has {brokers} broker(s)",
            "set kafka.replication_factor to at most that, or add brokers",
        )


def _existing(admin: Any, plans: Mapping[str, TopicPlan]) -> dict[str, int]:
    """Partitions of those topics that are there."""
    rows = admin.describe_topics(list(plans))
    return {row["name"]: len(row["partitions"]) for row in rows if row["error_code"] == 0}


def _create(
    admin: Any, plans: Mapping[str, TopicPlan], existing: Mapping[str, int], kafka: KafkaSettings
) -> list[str]:
    missing = {name: plan for name, plan in plans.items() if name not in existing}
    if not missing:
        return []
    wanted = {
        name: {
            "num_partitions": partitions,
            "replication_factor": kafka.replication_factor,
            "configs": configuration,
        }
        for name, (partitions, configuration) in missing.items()
    }
    try:
        admin.create_topics(wanted)
    except TopicAlreadyExistsError as cause:
        raise RetryableError("provisioning topics: somebody else creates them too") from cause
    except InvalidReplicationFactorError as cause:
        # There are enough brokers, as was asked just before; some of them are fenced now.
        raise RetryableError("provisioning topics: not enough brokers are up") from cause
    admin.wait_for_topics(list(wanted), timeout_ms=TOPICS_READY_WITHIN_MS)
    return [
        f"topic {name}: created with {partitions} partition(s)"
        for name, (partitions, _) in missing.items()
    ]


def _require_partitions(plans: Mapping[str, TopicPlan], existing: Mapping[str, int]) -> None:
    if wrong := _wrong_partitions(plans, existing):
        raise FatalError(
            "provisioning topics: " + "; ".join(wrong),
            "keys would be on other partitions: move the records to a topic with the right number, "
            "or set kafka.topic_prefix to begin with fresh topics",
        )


def _wrong_partitions(plans: Mapping[str, TopicPlan], existing: Mapping[str, int]) -> list[str]:
    return [
        f"{name} has {count} partition(s) instead of {plans[name][0]}"
        for name, count in existing.items()
        if count != plans[name][0]
    ]


def _align(admin: Any, plans: Mapping[str, TopicPlan]) -> list[str]:
    """Alters settings that differ from the plan; one line for each."""
    drifts = _drifts(admin, plans)
    if drifts:
        _alter(admin, {name: _wanted(drift) for name, drift in drifts.items()})
    return _drift_lines(drifts)


def _drifts(admin: Any, plans: Mapping[str, TopicPlan]) -> dict[str, Drift]:
    if not plans:
        return {}
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, name, list(configuration))
        for name, (_, configuration) in plans.items()
    ]
    found = admin.describe_configs(asked, config_filter="all")["topic"]
    return {
        name: drift
        for name, (_, configuration) in plans.items()
        if (drift := _drift(configuration, found[name]))
    }


def _drift_lines(drifts: Mapping[str, Drift]) -> list[str]:
    return [
        f"topic {name}: {key} {value} -> {wanted}"
        for name, drift in drifts.items()
        for key, (value, wanted) in drift.items()
    ]


def _wanted(drift: Drift) -> dict[str, str]:
    return {key: wanted for key, (_, wanted) in drift.items()}


def _alter(admin: Any, drifts: Mapping[str, Mapping[str, str]]) -> None:
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, name, dict(drift))
        for name, drift in drifts.items()
    ]
    # The client answers with each topic's outcome as text instead of raising it.
    for name, outcome in admin.alter_configs(asked)["topic"].items():
        if outcome != "OK":
            by_hand = ", ".join(f"{key}={value}" for key, value in drifts[name].items())
            raise FatalError(
                f"altering topic {name}: {outcome}",
                f"grant the Kafka user AlterConfigs on it, or set by hand {by_hand}",
            )


def _drift(wanted: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]) -> Drift:
    return {
        key: (str(found[key]["value"]), value)
        for key, value in wanted.items()
        if str(found[key]["value"]) != value
    }
