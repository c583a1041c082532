"""TLS to Kafka, with and without SCRAM: what is not the cluster's is refused and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from pydantic import SecretStr

from contracts import topics
from contracts.failures import FatalError, RetryableError
from infra import cluster_view
from infra.broker_errors import translated
from infra.cluster_view import ClusterView, admin_client
from infra.provision_topics import provision_topics
from infra.settings import KafkaSettings
from infra.topic_tail import read_all
from operations.certs_lab import Issued, LabAuthority, LabRequest, create_lab
from operations.ports import free_ports
from tests.engines import RunningEngines, start_engines
from tests.infra.bus_records import ACKNOWLEDGED_WITHIN_S, publisher_for, record
from tests.polling import eventually, succeeded

USER, PASSWORD = "hilum", "right"
# Beside the plain one, over which the brokers speak to each other; the last has a wrong name.
LISTENERS = ("SSL", "SASL_SSL", "MISNAMED")
# A client that is turned away tries again for so long before it says so.
TURNED_AWAY_MS = 2_000


@dataclass(frozen=True)
class SecureBroker:
    """A broker's listeners by name, and the authorities: its own and another."""

    plain: KafkaSettings
    ports: dict[str, int]
    authority: Path
    other_authority: Path

    def settings(self, listener: str, **changes: object) -> KafkaSettings:
        secured: dict[str, object] = {
            "bootstrap_servers": f"127.0.0.1:{self.ports[listener]}",
            "security_protocol": "SASL_SSL" if listener == "SASL_SSL" else "SSL",
            "ca_file": self.authority,
        }
        if listener == "SASL_SSL":
            secured |= {
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": USER,
                "sasl_password": SecretStr(PASSWORD),
            }
        return self.plain.model_copy(update=secured | changes)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker of this module's own, started anew with listeners that speak TLS."""
    directory = tmp_path_factory.mktemp("authorities")
    named, _ = (
        create_lab(LabRequest(directory / name, ("broker",), ()))[0] for name in ("own", "other")
    )
    authority = LabAuthority.load(directory / "own")
    misnamed = authority.issue_gateway("misnamed", ("broker.example",), 1, [])
    engines = start_engines(tmp_path_factory.mktemp("tls"), only=lambda name: name == "kafka")
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    try:
        engines.kill("kafka")
        _listen_with_tls(engines, ports, named, misnamed)
        engines.start("kafka")
        engines.await_ready()
        kafka = engines.settings.kafka
        succeeded(lambda: _add_user(kafka), "the user is known")
        yield SecureBroker(kafka, ports, named.ca_file, directory / "other" / "ca.pem")
    finally:
        engines.stop()


def _listen_with_tls(
    engines: RunningEngines, ports: dict[str, int], named: Issued, misnamed: Issued
) -> None:
    path = engines.directory / "kafka" / "server.properties"
    text = path.read_text()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    added = "".join(f",{name}://127.0.0.1:{port}" for name, port in ports.items())
    values["listeners"] += added
    values["advertised.listeners"] += added
    values["listener.security.protocol.map"] += ",SSL:SSL,SASL_SSL:SASL_SSL,MISNAMED:SSL"
    values |= {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(_key_store(named)),
        "listener.name.misnamed.ssl.keystore.type": "PEM",
        "listener.name.misnamed.ssl.keystore.location": str(_key_store(misnamed)),
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def _key_store(issued: Issued) -> Path:
    """Key and certificates in one file, as the broker wants them."""
    parts = (issued.key_file, issued.certificate_file, issued.ca_file)
    path = issued.key_file.with_suffix(".store.pem")
    path.write_text("".join(part.read_text() for part in parts))
    return path


def _add_user(kafka: KafkaSettings) -> None:
    wanted = UserScramCredentialUpsertion(USER, ScramMechanism.SCRAM_SHA_512, PASSWORD)
    client = admin_client(kafka)
    try:
        with translated("adding a user"):
            client.alter_user_scram_credentials([wanted])
    finally:
        client.close()


@pytest.mark.parametrize("listener", ["SSL", "SASL_SSL"])
def test_every_client_speaks_tls(broker: SecureBroker, listener: str) -> None:
    kafka = broker.settings(listener)
    eventually(lambda: bool(ClusterView(kafka).cluster_id()), "the cluster answers")
    succeeded(lambda: provision_topics(kafka), "the topics are there")
    value = listener.encode()
    with publisher_for(kafka) as publisher:
        publisher.publish(record(value)).result(ACKNOWLEDGED_WITHIN_S)
    found = succeeded(lambda: read_all(kafka, topics.RECEIVED.name), "the topic is read")
    assert value in [one.value for one in found]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOTSTRAP_TIMEOUT_MS", "BOOTSTRAP_TIMEOUT_MS_MIN"):
        monkeypatch.setattr(cluster_view, name, TURNED_AWAY_MS)


def refusal_of(work: Callable[[], object]) -> FatalError:
    """How it is refused for good; a client that lost the broker's answer is asked again."""
    refusals: list[FatalError] = []

    def is_refused() -> bool:
        try:
            work()
        except RetryableError:
            return False
        except FatalError as failure:
            refusals.append(failure)
        return True

    eventually(is_refused, "the refusal is told", 150)
    return refusals[0]


@pytest.mark.usefixtures("impatient")
def test_a_broker_of_another_authority_is_refused_and_the_setting_named(
    broker: SecureBroker,
) -> None:
    kafka = broker.settings("SSL", ca_file=broker.other_authority)
    refusal = refusal_of(lambda: ClusterView(kafka).cluster_id())
    assert "certificate verify failed" in str(refusal)
    assert "kafka.ca_file" in refusal.next_step


@pytest.mark.usefixtures("impatient")
def test_a_broker_whose_certificate_names_another_host_is_refused(broker: SecureBroker) -> None:
    refusal = refusal_of(lambda: ClusterView(broker.settings("MISNAMED")).cluster_id())
    assert "not valid for '127.0.0.1'" in str(refusal)
    assert "kafka.bootstrap_servers" in refusal.next_step


@pytest.mark.usefixtures("impatient")
def test_a_wrong_password_over_tls_is_refused_as_one(broker: SecureBroker) -> None:
    kafka = broker.settings("SASL_SSL", sasl_password=SecretStr("wrong"))
    refusal = refusal_of(lambda: ClusterView(kafka).cluster_id())
    assert "kafka.sasl_password" in refusal.next_step
    assert "wrong" not in str(refusal)
