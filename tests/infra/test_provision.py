"""Provisioning: idempotent, says what it changes, and refuses what a person must decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from contracts import topics
from contracts.failures import FatalError, RetryableError
from infra.cluster_view import ClusterView, admin_client
from infra.connect import connect
from infra.engines.kafka import OFFSETS_KEPT_MINUTES
from infra.object_store import S3ObjectStore
from infra.provision import provision
from infra.provision_bucket import MARKER_KEY, provision_bucket, require_marker
from infra.provision_topics import provision_topics
from infra.settings import KafkaSettings, ObjectStoreSettings, Settings, SiteSettings
from infra.telemetry import Metrics
from tests.engines import delete_topics, isolated_settings
from tests.polling import eventually, succeeded


@pytest.fixture(scope="module")
def settings(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    isolated = isolated_settings(engines, tmp_path_factory.mktemp("provision"))
    yield isolated
    delete_topics(isolated)


def configuration(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    admin = admin_client(kafka)
    name = kafka.topic_prefix + topic
    asked = ConfigResource(ConfigResourceType.TOPIC, name)
    found: dict[str, Any] = admin.describe_configs([asked], config_filter="all")["topic"][name]
    admin.close()
    return {key: str(entry["value"]) for key, entry in found.items()}


def test_everything_is_made_once_and_said(settings: Settings) -> None:
    changes = provision(settings)
    for topic in topics.TOPICS:
        for name, count in ((topic.name, topic.partitions), (topic.dlq_name, 1)):
            line = f"topic {settings.kafka.topic_prefix}{name}: created with {count} partition(s)"
            assert line in changes
    for site in (settings.primary, settings.dr):
        bucket = site.object_store.bucket
        assert f"bucket {bucket}: created for site {site.name}" in changes
        assert f"bucket {bucket}: marked as the archive of site {site.name}" in changes
    assert any(change.startswith("primary: ") for change in changes), "migrations"
    assert any(change.startswith("dr: ") for change in changes)
    assert provision(settings) == [], "nothing to do the second time"


@pytest.mark.parametrize("topic", topics.TOPICS, ids=lambda topic: topic.name)
def test_topics_are_as_the_table_says(settings: Settings, topic: topics.Topic) -> None:
    found = configuration(settings.kafka, topic.name)
    assert found["cleanup.policy"] == ("compact" if topic.is_compacted else "delete")
    assert found["compression.type"] == topic.compression
    assert found["max.message.bytes"] == str(topic.message_bytes_max)
    assert found["min.insync.replicas"] == str(settings.kafka.min_insync_replicas)
    assert found["message.timestamp.type"] == "LogAppendTime", "no gateway's clock decides"
    is_payload = topic is topics.PAYLOAD
    retention_ms = settings.kafka.payload_retention_ms if is_payload else topic.retention_ms
    assert found["retention.ms"] == str(retention_ms)
    dead = configuration(settings.kafka, topic.dlq_name)
    assert dead["retention.ms"] == str(topics.DLQ_RETENTION_MS)
    assert int(dead["max.message.bytes"]) > topic.message_bytes_max


def test_payload_is_kept_as_the_settings_say(settings: Settings) -> None:
    kafka = settings.kafka.model_copy(
        update={"payload_retention_ms": 7_200_000, "payload_retention_bytes": 2**30}
    )
    name = f"{kafka.topic_prefix}{topics.PAYLOAD.name}"
    changes = succeeded(lambda: provision_topics(kafka), "the broker answers")
    assert sorted(changes) == [
        f"topic {name}: retention.bytes {settings.kafka.payload_retention_bytes} -> {2**30}",
        f"topic {name}: retention.ms {settings.kafka.payload_retention_ms} -> 7200000",
    ]
    eventually(lambda: provision_topics(kafka) == [], "the broker knows")
    assert configuration(kafka, topics.PAYLOAD.name)["retention.ms"] == "7200000"


def test_a_setting_that_drifted_is_put_back_and_shown(settings: Settings) -> None:
    name = settings.kafka.topic_prefix + topics.RECEIVED.name
    admin = admin_client(settings.kafka)
    drift = {"retention.ms": "60000", "cleanup.policy": "compact", "segment.ms": "777777"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, drift)])
    admin.close()
    seen: list[str] = []

    def is_put_back() -> bool:
        seen.extend(provision_topics(settings.kafka))
        return f"topic {name}: retention.ms 60000 -> -1" in seen

    eventually(is_put_back, "the drift is seen")
    assert f"topic {name}: cleanup.policy compact -> delete" in seen
    eventually(
        lambda: configuration(settings.kafka, topics.RECEIVED.name)["retention.ms"] == "-1",
        "history is kept for good again",
    )
    found = configuration(settings.kafka, topics.RECEIVED.name)
    assert found["segment.ms"] == "777777", "what the table does not name is the site's own"


def test_another_number_of_partitions_is_refused_by_name(engines: Settings, tmp_path: Path) -> None:
    settings = isolated_settings(engines, tmp_path)
    kafka = settings.kafka
    name = kafka.topic_prefix + topics.CUSTODY.name
    admin = admin_client(kafka)
    admin.create_topics({name: {"num_partitions": 3, "replication_factor": 1}})
    admin.wait_for_topics([name], timeout_ms=60_000)
    admin.close()
    try:
        with pytest.raises(FatalError, match=f"{name} has 3 partition.* instead of 12"):
            provision_topics(kafka)
        with pytest.raises(FatalError, match="3 partition"):
            provision_topics(kafka)
    finally:
        delete_topics(settings)


def test_more_replicas_than_brokers_are_refused_before_anything_is_made(
    engines: Settings, tmp_path: Path
) -> None:
    kafka = isolated_settings(engines, tmp_path).kafka
    three = kafka.model_copy(update={"replication_factor": 3, "min_insync_replicas": 2})
    with pytest.raises(FatalError, match=r"kafka\.replication_factor is 3.*1 broker"):
        provision_topics(three)
    admin = admin_client(kafka)
    assert not [name for name in admin.list_topics() if name.startswith(kafka.topic_prefix)]
    admin.close()


def test_a_cluster_that_is_down_is_retryable(settings: Settings) -> None:
    down = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1,127.0.0.1:2"})
    with pytest.raises(RetryableError) as failure:
        provision_topics(down)
    # They are tried in a random order.
    assert "127.0.0.1:1: " in str(failure.value)
    assert "127.0.0.1:2: " in str(failure.value)


@pytest.mark.parametrize("servers", ["kafka", "kafka:", ":9092", "kafka:port"])
def test_an_address_that_is_none_is_named(settings: Settings, servers: str) -> None:
    with pytest.raises(FatalError, match="is no address"):
        provision_topics(settings.kafka.model_copy(update={"bootstrap_servers": servers}))


@pytest.fixture
def site(s3_settings: ObjectStoreSettings, settings: Settings) -> SiteSettings:
    """A site of its own on either kind of store."""
    return settings.primary.model_copy(update={"object_store": s3_settings})


def test_a_bucket_carries_its_archives_name(site: SiteSettings) -> None:
    assert len(provision_bucket(site)) == 2
    assert provision_bucket(site) == []
    store = S3ObjectStore(site.object_store)
    require_marker(store, site)
    assert json.loads(store.read(MARKER_KEY)) == {
        "archive": "hilum",
        "site": site.name,
        "database": site.clickhouse.database,
    }


@pytest.mark.parametrize("other", ["site", "database"])
def test_another_archives_bucket_is_refused(site: SiteSettings, other: str) -> None:
    provision_bucket(site)
    if other == "site":
        intruder = site.model_copy(update={"name": "elsewhere"})
    else:
        clickhouse = site.clickhouse.model_copy(update={"database": "elsewhere"})
        intruder = site.model_copy(update={"clickhouse": clickhouse})
    for _ in range(2):
        with pytest.raises(FatalError, match="belongs to another archive"):
            provision_bucket(intruder)
    assert provision_bucket(site) == [], "and is left as it was"


def test_a_bucket_without_a_mark_is_refused_by_processes(
    site: SiteSettings, tmp_path: Path
) -> None:
    store = S3ObjectStore(site.object_store)
    store.ensure_bucket()
    with pytest.raises(FatalError, match="carries no hilum-archive"):
        require_marker(store, site)


@pytest.mark.parametrize("other", ["site", "database", "nobody"])
def test_no_process_writes_into_a_bucket_that_is_not_its_own(
    settings: Settings, site: SiteSettings, other: str
) -> None:
    store = S3ObjectStore(site.object_store)
    if other == "nobody":
        store.ensure_bucket()
        ours = site
    else:
        provision_bucket(site)
        clickhouse = site.clickhouse.model_copy(update={"database": "elsewhere"})
        changed = {"name": "elsewhere"} if other == "site" else {"clickhouse": clickhouse}
        ours = site.model_copy(update=changed)
    engines = connect(settings.model_copy(update={"primary": ours}), "test", Metrics())
    try:
        data = b"an image"
        sha256 = hashlib.sha256(data).hexdigest()
        with pytest.raises(FatalError, match=r"hilum-archive|another archive"):
            engines.primary.object_store.put_buffers("packs/a.tar", [data], sha256, {})
        assert list(store.list("packs/")) == []
        if other == "nobody":
            provision_bucket(site)
            engines.primary.object_store.put_buffers("packs/a.tar", [data], sha256, {})
            assert store.read("packs/a.tar") == data
    finally:
        engines.close()


def test_where_groups_go_on_is_kept_for_months(settings: Settings) -> None:
    view = ClusterView(settings.kafka)
    try:
        kept = succeeded(view.offsets_kept_minutes, "the brokers tell their settings")
    finally:
        view.close()
    assert kept == OFFSETS_KEPT_MINUTES


def test_an_existing_bucket_with_objects_is_marked_and_kept(
    site: SiteSettings, tmp_path: Path
) -> None:
    store = S3ObjectStore(site.object_store)
    store.ensure_bucket()
    path = tmp_path / "object"
    path.write_bytes(b"from before")
    store.put_file("packs/a.tar", path, hashlib.sha256(b"from before").hexdigest(), {})
    assert provision_bucket(site) == [
        f"bucket {store.bucket}: marked as the archive of site {site.name}"
    ]
    assert store.read("packs/a.tar") == b"from before"


def test_a_wrong_secret_is_fatal_with_its_setting(site: SiteSettings) -> None:
    wrong = site.object_store.model_copy(update={"secret_key": SecretStr("wrong-secret")})
    with pytest.raises(FatalError) as caught:
        provision_bucket(site.model_copy(update={"object_store": wrong}))
    assert "secret_key" in caught.value.next_step
