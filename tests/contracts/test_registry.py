"""The registry's REST form, proven by the clients that people use."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from contracts.codec import encode, to_plain
from contracts.envelope import Origin
from contracts.events import Event
from contracts.example_catalog import examples_of
from contracts.failures import EXIT_FATAL, EXIT_OK, FatalError
from contracts.schema_catalog import newest
from contracts.topics import TOPICS, Topic
from infra.broker import KafkaPublisher
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.provision_topics import provision_topics
from infra.schema_registry import SchemaRegistry
from infra.settings import RegistrySettings, Settings
from tests.engines import delete_topics, isolated_settings
from tests.polling import WITHIN_S, eventually, succeeded

ROOT = Path(__file__).resolve().parents[2]
ACKNOWLEDGED_WITHIN_S = 110.0
CONSUMED_WITHIN_S = 110.0
ANSWER_S = 60.0
SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
[primary]
name = "primary"
object_store = { endpoint = "127.0.0.1:1", access_key = "a", secret_key = "b" }
clickhouse = { host = "127.0.0.1", port = 1 }
[dr]
name = "dr"
object_store = { endpoint = "127.0.0.1:1", access_key = "a", secret_key = "b" }
clickhouse = { host = "127.0.0.1", port = 1 }
[schema_registry]
port = 0
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    registry = SchemaRegistry(RegistrySettings(port=0))
    registry.start()
    yield registry.port
    registry.stop()


@pytest.fixture(scope="module")
def client(port: int) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": f"http://127.0.0.1:{port}"})


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_confluent_client_finds_every_subject(
    client: SchemaRegistryClient, topic: Topic
) -> None:
    version = newest(topic.event_type)
    assert {f"{topic.name}-value", f"{topic.dlq_name}-value"} <= set(client.get_subjects())
    latest = client.get_latest_version(f"{topic.name}-value")
    assert (latest.schema_id, latest.version) == (version.schema_id, version.version)
    assert client.get_version(f"{topic.name}-value", 1).version == 1
    by_id = client.get_schema(version.schema_id)
    assert orjson.loads(str(by_id.schema_str)) == orjson.loads(version.text)
    found = client.lookup_schema(f"{topic.dlq_name}-value", by_id)
    assert found.schema_id == version.schema_id


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/subjects/nope-value/versions", 404, 40401),
        ("GET", "/subjects/imaging.custody.v1-value/versions/99", 404, 40402),
        ("GET", "/subjects/imaging.custody.v1-value/versions/x", 422, 42202),
        ("GET", "/schemas/ids/1", 404, 40403),
        ("GET", "/schemas/ids/x", 404, 40403),
        ("GET", "/nowhere", 404, 404),
        ("POST", "/subjects/imaging.custody.v1-value", 422, 42201),
        ("POST", "/subjects/nope-value", 404, 40401),
        ("POST", "/subjects/imaging.custody.v1-value/versions", 422, 42205),
        ("PUT", "/config", 422, 42205),
        ("PUT", "/mode", 422, 42205),
        ("DELETE", "/subjects/imaging.custody.v1-value", 422, 42205),
    ],
)
def test_refusals_carry_the_registrys_own_codes(
    port: int, method: str, path: str, status: int, code: int
) -> None:
    answered, content_type, body = ask(port, method, path, b"{}" if method != "GET" else b"")
    assert (answered, body["error_code"]) == (status, code)
    assert content_type == "application/vnd.schemaregistry.v1+json"


def test_the_confluent_client_cannot_register(client: SchemaRegistryClient) -> None:
    schema = client.get_latest_version("imaging.custody.v1-value").schema
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema("imaging.new.v1-value", schema)
    assert refused.value.error_code in (42205, 40401)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", {}),
        ("/livez", {"live": True}),
        ("/mode", {"mode": "READONLY"}),
        ("/config", {"compatibilityLevel": "FULL"}),
        ("/schemas/types", ["AVRO"]),
        ("/subjects/imaging.custody.v1-value/versions", [1]),
    ],
)
def test_what_tools_ask_first_is_answered(port: int, path: str, body: object) -> None:
    assert ask(port, "GET", path) == (200, "application/vnd.schemaregistry.v1+json", body)


def test_it_says_ready_and_where_an_id_is_used(port: int) -> None:
    assert ask(port, "GET", "/readyz")[2]["ready"] is True
    topic = TOPICS[1]
    number = newest(topic.event_type).schema_id
    places = ask(port, "GET", f"/schemas/ids/{number}/versions")[2]
    assert {place["subject"] for place in places} == {
        f"{topic.name}-value",
        f"{topic.dlq_name}-value",
    }


def test_a_body_that_is_too_large_is_refused_before_it_is_read(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    connection.putrequest("POST", "/subjects/imaging.custody.v1-value")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_taken_port_is_told_with_the_next_step(port: int) -> None:
    with pytest.raises(FatalError, match=r"schema_registry\.port"):
        SchemaRegistry(RegistrySettings(port=port))


COMMAND = (sys.executable, "-m", "infra.schema_registry", "--settings")


def test_the_process_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen((*COMMAND, str(settings)), cwd=ROOT, stderr=stderr)
    try:

        def has_told() -> bool:
            assert process.poll() is None, log.read_text()
            return log.read_text().endswith("}\n")

        eventually(has_told, "its first line")
        port = json.loads(log.read_text().splitlines()[-1])["port"]
        assert ask(port, "GET", "/readyz")[0] == 200
        process.terminate()
        assert process.wait(WITHIN_S) == EXIT_OK
    finally:
        process.kill()


def test_the_process_ends_for_good_on_bad_settings(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS.replace("bootstrap_servers", "boostrap_servers"))
    done = subprocess.run((*COMMAND, str(settings)), cwd=ROOT, capture_output=True, timeout=200)
    assert done.returncode == EXIT_FATAL
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "stopped" and "'bootstrap_servers'" in last["reason"]
    assert last["next_step"]


@pytest.fixture(scope="module")
def published(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Every example on its topic, on the real broker."""
    settings = isolated_settings(engines, tmp_path_factory.mktemp("registry"))
    succeeded(lambda: provision_topics(settings.kafka), "the topics are there")
    publisher = KafkaPublisher(settings.kafka, Origin("/hilum/test/registry"), SystemClock())
    pending = [
        publisher.publish_event(example, b"key", f"{number}")
        for topic in TOPICS
        for number, example in enumerate(examples_of(topic.event_type))
    ]
    for publication in pending:
        publication.result(ACKNOWLEDGED_WITHIN_S)
    publisher.close()
    yield settings
    delete_topics(settings)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_confluent_deserializer_reads_every_topic(
    published: Settings, client: SchemaRegistryClient, topic: Topic
) -> None:
    deserialize = AvroDeserializer(client)
    expected = [to_plain(example) for example in examples_of(topic.event_type)]
    name = published.kafka.topic_prefix + topic.name
    found = [
        deserialize(value, SerializationContext(name, MessageField.VALUE))
        for value in _values(published.kafka.bootstrap_servers, name, topic, len(expected))
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def _values(servers: str, name: str, topic: Topic, count: int) -> list[bytes]:
    """The first `count` values of a topic, read by librdkafka."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "unused", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(name, number, 0) for number in range(topic.partitions)])
    try:
        messages: list[Any] = []
        while len(messages) < count:
            batch = consumer.consume(count - len(messages), CONSUMED_WITHIN_S)
            assert batch, f"{len(messages)} of {count} records came"
            messages += batch
    finally:
        consumer.close()
    assert not [message.error() for message in messages if message.error()]
    return [message.value() for message in messages]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_clickhouse_reads_every_topics_examples(engines: Settings, port: int, topic: Topic) -> None:
    """ClickHouse's AvroConfluent format, which asks the registry for each schema id."""
    clickhouse = engines.primary.clickhouse.model_copy(update={"database": "default"})
    database = ClickHouseDatabase(clickhouse)
    examples: list[Event] = list(examples_of(topic.event_type))
    columns = ", ".join(_columns(topic))
    data = b"".join(encode(example) for example in examples).hex()
    rows = database.query(
        f"SELECT {columns} FROM format(AvroConfluent, '{_structure(topic)}', unhex('{data}')) "
        f"SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:{port}'"
    )
    expected = [[to_plain(example)[column] for column in _columns(topic)] for example in examples]
    assert [[row[column] for column in _columns(topic)] for row in rows] == expected


# ClickHouse's type for each Avro type that stands at the top of our events.
_TYPES = {"string": "String", "long": "Int64", "boolean": "Bool", "bytes": "String"}


def _columns(topic: Topic) -> list[str]:
    """The columns whose values look the same on both sides: plain text, numbers, truth."""
    fields = newest(topic.event_type).parsed["fields"]
    return [field["name"] for field in fields if field["type"] in ("string", "long", "boolean")]


def _structure(topic: Topic) -> str:
    fields = newest(topic.event_type).parsed["fields"]
    return ", ".join(f"{field['name']} {_clickhouse_type(field['type'])}" for field in fields)


def _clickhouse_type(kind: Any) -> str:
    if isinstance(kind, list):
        inner = _clickhouse_type(next(branch for branch in kind if branch != "null"))
        # an Array cannot be Nullable; an empty one stands for null
        return inner if inner.startswith("Array") else f"Nullable({inner})"
    if isinstance(kind, str):
        return _TYPES[kind]
    if kind.get("logicalType") == "timestamp-micros":
        return "DateTime64(6, \\'UTC\\')"
    if kind["type"] == "array":
        return f"Array({_clickhouse_type(kind['items'])})"
    if kind["type"] == "record":
        inner = ", ".join(f"{f['name']} {_clickhouse_type(f['type'])}" for f in kind["fields"])
        return f"Tuple({inner})"
    return _TYPES[kind["type"]]
