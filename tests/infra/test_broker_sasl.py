"""SASL: the right password works for every client, the wrong one is fatal and names its setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from contracts import topics
from contracts.failures import FatalError, RetryableError
from infra.broker_client import connection_options
from infra.cluster_view import ClusterView
from infra.provision_topics import provision_topics
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail, read_all
from tests.engines import RunningEngines, start_engines
from tests.infra.bus_records import ACKNOWLEDGED_WITHIN_S, publisher_for, record
from tests.polling import eventually, succeeded

LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="broker-password" '
    'user_broker="broker-password" user_hilum="right";'
)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A broker of this module's own, restarted with a listener that asks for a password."""
    engines = start_engines(tmp_path_factory.mktemp("sasl"), only=lambda name: name == "kafka")
    try:
        engines.kill("kafka")
        _ask_for_a_password(engines)
        engines.start("kafka")
        engines.await_ready()
        yield engines.settings.kafka.model_copy(
            update={
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "hilum",
                "sasl_password": SecretStr("right"),
            }
        )
    finally:
        engines.stop()


def _ask_for_a_password(engines: RunningEngines) -> None:
    path = engines.directory / "kafka" / "server.properties"
    text = path.read_text().replace("PLAINTEXT://", "SASL_PLAINTEXT://")
    text = text.replace("PLAINTEXT:PLAINTEXT", "SASL_PLAINTEXT:SASL_PLAINTEXT")
    path.write_text(
        f"{text}\n"
        "inter.broker.listener.name=SASL_PLAINTEXT\n"
        "sasl.enabled.mechanisms=PLAIN\n"
        "sasl.mechanism.inter.broker.protocol=PLAIN\n"
        f"listener.name.sasl_plaintext.plain.sasl.jaas.config={LOGIN}\n"
    )


def test_every_client_logs_in(kafka: KafkaSettings) -> None:
    eventually(lambda: bool(ClusterView(kafka).cluster_id()), "the cluster answers")
    succeeded(lambda: provision_topics(kafka), "the topics are there")
    with publisher_for(kafka) as publisher:
        publisher.publish(record(b"x")).result(ACKNOWLEDGED_WITHIN_S)
    assert [found.value for found in read_all(kafka, topics.RECEIVED.name)] == [b"x"]


@pytest.mark.parametrize("client", ["provisioning", "publisher", "tail", "cluster"])
def test_a_refused_login_is_fatal_and_named(kafka: KafkaSettings, client: str) -> None:
    wrong = kafka.model_copy(update={"sasl_password": SecretStr("wrong")})
    work: dict[str, Callable[[], object]] = {
        "provisioning": lambda: provision_topics(wrong),
        "publisher": lambda: _publish(wrong),
        "tail": lambda: TopicTail(wrong, topics.CUSTODY.name).end_offsets(),
        "cluster": lambda: ClusterView(wrong).cluster_id(),
    }
    refusals: list[FatalError] = []

    def is_refused() -> bool:
        try:
            work[client]()
        except RetryableError:
            return False  # the client lost the broker's answer; it is asked again
        except FatalError as failure:
            refusals.append(failure)
        return True

    eventually(is_refused, "the refusal is told", 150)
    assert "kafka.sasl_password" in refusals[0].next_step
    assert "wrong" not in str(refusals[0]), "a secret is in no message"


def _publish(kafka: KafkaSettings) -> None:
    with publisher_for(kafka) as publisher:
        publisher.publish(record(b"x"))


def test_secrets_and_files_reach_the_client(kafka: KafkaSettings) -> None:
    options = connection_options(kafka)
    assert options["sasl_plain_password"] == "right"
    assert "right" not in repr(kafka)
