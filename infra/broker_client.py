"""What every Kafka client of Hilum is configured with.

Invariant: nothing that decides durability, position or topic creation is left to a default of the
library. Must not open a connection.
"""

from __future__ import annotations

import selectors
import socket
from typing import Any

from infra.broker_buffers import move_large_records
from infra.settings import KafkaSettings

MIB = 1024 * 1024

# Named, because otherwise a client asks a broker at once and cannot be built while all are down.
# The oldest Kafka we promise; all its request versions are still served by 4.3.
BROKER_API_VERSION = (3, 7)
# Bounds how long a recovered broker goes unnoticed (the library's default is 30 s).
RECONNECT_BACKOFF_MS_MAX = 2_000
CLOSE_TIMEOUT_S = 5.0


class QuietSelector(selectors.DefaultSelector):
    """The machine's selector, for which an unknown socket is an everyday answer.

    kafka-python (3.0.12) asks for each wait whether its socket is registered, which it is not, and
    the standard library spells the socket out for that error, both addresses asked of the kernel:
    4 % of a forwarder.
    """

    def __init__(self) -> None:
        super().__init__()
        self._descriptors: set[int] = set()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As the standard library's."""
        key = super().register(fileobj, events, data)
        self._descriptors.add(key.fd)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As the standard library's."""
        key = super().unregister(fileobj)
        self._descriptors.discard(key.fd)
        return key

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """As the standard library's, its KeyError without a text."""
        # A closed socket has no descriptor; the standard library finds it by its object.
        if isinstance(fileobj, socket.socket):
            descriptor = fileobj.fileno()
            if descriptor >= 0 and descriptor not in self._descriptors:
                raise KeyError
        return super().get_key(fileobj)


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Addresses, TLS, SASL and time-outs: what producers, consumers and admin clients share."""
    move_large_records()
    options: dict[str, Any] = {
        "selector": QuietSelector,
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": kafka.request_timeout_ms,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MS_MAX,
    }
    files = {
        "ssl_cafile": kafka.ca_file,
        "ssl_certfile": kafka.certificate_file,
        "ssl_keyfile": kafka.key_file,
    }
    options.update({name: str(path) for name, path in files.items() if path is not None})
    if kafka.security_protocol.startswith("SASL"):
        password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""
        options.update(
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_plain_username=kafka.sasl_username,
            sasl_plain_password=password,
        )
    return options


def consumer_options(kafka: KafkaSettings) -> dict[str, Any]:
    """`connection_options` and what holds for every consumer: it never moves by itself."""
    return {
        **connection_options(kafka),
        "api_version": BROKER_API_VERSION,
        "metrics_enabled": False,  # ours are in `infra.metric_list`; theirs cost CPU a record
        "enable_auto_commit": False,
        # 'earliest' would step over records that retention took, in silence.
        "auto_offset_reset": "none",
        "isolation_level": "read_uncommitted",
        "allow_auto_create_topics": False,
    }


def producer_options(kafka: KafkaSettings) -> dict[str, Any]:
    """`connection_options` and what makes an acknowledgement mean that all replicas have it."""
    return {
        **connection_options(kafka),
        "api_version": BROKER_API_VERSION,
        "metrics_enabled": False,  # ours are in `infra.metric_list`; theirs cost CPU a record
        "acks": "all",
        "enable_idempotence": True,
        "delivery_timeout_ms": kafka.delivery_timeout_ms,
        "max_in_flight_requests_per_connection": 5,
        "allow_auto_create_topics": False,
    }


def restore_parked(consumer: Any) -> None:
    """Lets the next poll hand out what a partition had in the client's hands when it was paused.

    kafka-python 3.0.12 parks such records, takes them up again only while its slot for the
    partition in turn is None, and leaves a used-up one in it: then a resumed partition is neither
    fetched (its records are "there") nor handed out, for ever. Call before every poll of a
    consumer that pauses; there is no public way.
    """
    fetcher = consumer._fetcher
    if not fetcher._next_partition_records:
        fetcher._next_partition_records = None
