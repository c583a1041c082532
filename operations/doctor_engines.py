"""Kafka, both object stores, both ClickHouse and the schema registry, each asked by itself.

Invariant: changes nothing in any of them; what is down is one finding and hides no other.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from infra.bucket_state import bucket_state
from infra.clickhouse import ClickHouseDatabase
from infra.cluster_view import ClusterView
from infra.engines.program import Probe
from infra.migrate import migrations, pending
from infra.provision_topics import topics_state
from infra.settings import ClickHouseSettings, KafkaSettings, Settings, SiteSettings
from operations.doctor_clock import clickhouse_clock, gateway_clocks, store_clock
from operations.findings import Check, Finding, judge

# Names of topics in one line of an answer.
NAMED_MAX = 3
# A consumer that stood still for a month is a long repair, and no reason to read all of history.
OFFSETS_KEPT_DAYS_MIN = 30
DAY_MINUTES = 24 * 60


def engine_checks(settings: Settings, up_command: str) -> list[Check]:
    """The checks of every engine that the settings name."""
    kafka, registry = settings.kafka, settings.schema_registry
    checks = [
        Check(
            "kafka",
            "reachable",
            f"a broker at {kafka.bootstrap_servers}",
            up_command if settings.local.kafka else _reach(kafka.bootstrap_servers.split(",")[0]),
            lambda: _kafka(settings, up_command),
        ),
        Check(
            "kafka",
            "group offsets",
            f"kept for {OFFSETS_KEPT_DAYS_MIN} days",
            up_command if settings.local.kafka else _reach(kafka.bootstrap_servers.split(",")[0]),
            lambda: _group_offsets(kafka, up_command if settings.local.kafka else ""),
        ),
        Check(
            "schema registry",
            "reachable",
            f"answers on port {registry.port}",
            up_command,
            lambda: _registry(settings, up_command),
        ),
    ]
    for site in (settings.primary, settings.dr):
        checks += _site_checks(settings, site, up_command)
    return checks


def _site_checks(settings: Settings, site: SiteSettings, up_command: str) -> list[Check]:
    store, clickhouse = site.object_store, site.clickhouse
    address = f"{clickhouse.host}:{clickhouse.port}"
    return [
        Check(
            f"s3 {site.name}",
            "reachable",
            f"a store at {store.endpoint}",
            up_command if settings.local.object_stores else _reach(store.endpoint),
            lambda: _bucket(site, up_command, settings.local.object_stores),
        ),
        Check(
            f"clickhouse {site.name}",
            "reachable",
            f"a server at {address}",
            up_command if settings.local.clickhouses else _reach(address),
            lambda: _clickhouse(site.name, clickhouse, up_command),
        ),
    ]


def _kafka(settings: Settings, up_command: str) -> Iterator[Finding]:
    kafka = settings.kafka
    view = ClusterView(kafka)
    try:
        cluster_id = view.cluster_id()
    finally:
        view.close()
    state = topics_state(kafka)
    yield judge(
        "kafka",
        "reachable",
        "ok",
        f"cluster {cluster_id}, {state.brokers} broker(s)",
        ("a broker", ""),
    )
    yield judge(
        "kafka",
        "replication",
        "ok" if kafka.replication_factor <= state.brokers else "error",
        f"{state.brokers} broker(s), min.insync.replicas {kafka.min_insync_replicas}",
        (
            f"at least {kafka.replication_factor} for kafka.replication_factor",
            f"add brokers, or set kafka.replication_factor = {state.brokers}",
        ),
    )
    there = state.wanted - len(state.missing)
    seen = f"{there} of {state.wanted}" + _named(", missing ", state.missing)
    wanted = ("every topic and dead-letter topic", up_command)
    yield judge("kafka", "topics", "error" if state.missing else "ok", seen, wanted)
    yield judge(
        "kafka",
        "topic settings",
        "error" if state.different else "ok",
        _named("", state.different) or "as the topic table wants them",
        ("retention, min.insync.replicas and partitions of the topic table", up_command),
    )
    yield judge(
        "kafka",
        "in sync",
        "error" if state.too_few_in_sync else "ok",
        _named("too few replicas: ", state.too_few_in_sync) or "every partition takes records",
        (
            f"{kafka.min_insync_replicas} replica(s) in sync of each partition",
            f"kafka-topics.sh --bootstrap-server {shlex.quote(kafka.bootstrap_servers)} "
            "--describe --under-min-isr-partitions",
        ),
    )
    yield _window(settings)
    if not state.missing:
        yield from gateway_clocks(settings)


def _group_offsets(kafka: KafkaSettings, up_command: str) -> Iterator[Finding]:
    """Where a consumer goes on is forgotten once all of its members have been gone for so long.

    It reads everything from the beginning then, which is harmless and long.
    """
    view = ClusterView(kafka)
    try:
        kept_days = view.offsets_kept_minutes() / DAY_MINUTES
    finally:
        view.close()
    yield judge(
        "kafka",
        "group offsets",
        "ok" if kept_days >= OFFSETS_KEPT_DAYS_MIN else "warning",
        f"kept for {kept_days:g} days after a consumer has stopped",
        (
            f"at least {OFFSETS_KEPT_DAYS_MIN} days",
            up_command
            or f"set offsets.retention.minutes={OFFSETS_KEPT_DAYS_MIN * DAY_MINUTES} in"
            " server.properties of every broker, and restart them one by one",
        ),
    )


def _window(settings: Settings) -> Finding:
    """Published bytes that are not archived yet must never reach the retention of one partition:
    a single study's records all have one key.
    """
    window = sum(g.published_unarchived_bytes_max for g in settings.gateways.values())
    limit = settings.kafka.payload_retention_bytes // 2
    return judge(
        "kafka",
        "payload retention",
        "ok" if window <= limit else "warning",
        f"{window} bytes may wait for the archive, over all gateways",
        (
            f"at most {limit}, half of kafka.payload_retention_bytes",
            f"set kafka.payload_retention_bytes = {2 * window}, or lower "
            "gateways.NAME.published_unarchived_bytes_max",
        ),
    )


def _bucket(site: SiteSettings, up_command: str, is_local: bool) -> Iterator[Finding]:
    subject, bucket = f"s3 {site.name}", site.object_store.bucket
    state = bucket_state(site)
    yield store_clock(subject, site.object_store)
    yield judge(
        subject,
        "bucket",
        "ok" if state.is_there else "error",
        f"{bucket}: {'there' if state.is_there else 'not there'}",
        ("the bucket of the settings", up_command),
    )
    if not state.is_there:
        return
    yield judge(
        subject,
        "marker",
        "error" if state.marker_problem else "ok",
        state.marker_problem or f"the archive of site {site.name}",
        ("the mark of this site's archive", f"{up_command}   (or correct object_store.bucket)"),
    )
    yield judge(
        subject,
        "versioning",
        "ok" if is_local or state.versioning == "Enabled" else "warning",
        f"{state.versioning}{' (local store)' if is_local else ''}",
        (
            "Enabled: Hilum deletes nothing, others with the key could",
            f"aws s3api put-bucket-versioning --bucket {shlex.quote(bucket)} "
            "--versioning-configuration Status=Enabled --endpoint-url "
            f"{'https' if site.object_store.secure else 'http'}://{site.object_store.endpoint}",
        ),
    )


def _clickhouse(site: str, settings: ClickHouseSettings, up_command: str) -> Iterator[Finding]:
    subject = f"clickhouse {site}"
    # `system` is in every server, while the database that the settings name may not be yet.
    server = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    try:
        version = server.query("SELECT version() AS version")[0]["version"]
        is_there = server.query(
            "SELECT name FROM system.databases WHERE name = {name:String}",
            {"name": settings.database},
        )
    finally:
        server.close()
    yield judge(subject, "reachable", "ok", f"version {version}", ("a server", ""))
    yield clickhouse_clock(subject, settings)
    yield judge(
        subject,
        "database",
        "ok" if is_there else "error",
        f"{settings.database}: {'there' if is_there else 'not there'}",
        ("the database of the settings", up_command),
    )
    if is_there:
        waiting = pending(settings)
        yield judge(
            subject,
            "migrations",
            "error" if waiting else "ok",
            _named("not applied: ", waiting) or f"all {len(migrations())} applied",
            ("no migration pending", up_command),
        )


def _registry(settings: Settings, up_command: str) -> Iterator[Finding]:
    registry = settings.schema_registry
    wanted = (f"answers on port {registry.port}", up_command)
    if not registry.port:
        seen = "port 0 in the settings: nobody can find it"
        yield judge("schema registry", "reachable", "warning", seen, wanted)
        return
    answer = Probe("http", registry.port, "/subjects", reachable_host(registry.bind)).ask()
    seen = "serves the schemas" if answer.is_ready else answer.reason
    yield judge("schema registry", "reachable", "ok" if answer.is_ready else "error", seen, wanted)


def reachable_host(bind: str) -> str:
    """The address under which this machine reaches what listens on `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)


def _reach(address: str) -> str:
    host, _, port = address.strip().rpartition(":")
    return f"nc -vz {shlex.quote(host)} {shlex.quote(port)}   (network, firewall, the service)"


def _named(before: str, names: tuple[str, ...] | list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return f"{before}{', '.join(names[:NAMED_MAX])}{more}"
