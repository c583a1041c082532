"""Kafka's exceptions as the three failure classes, in one table.

Invariant: what no row names and Kafka does not call retriable is Fatal; no exception of the client
library leaves `infra`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors as kafka_errors

from contracts.failures import FatalError, HilumError, RetryableError
from infra.broker_authentication import refusal_since

# The client ends a producer for good (or drops what it had in flight) after any error that it
# cannot retry; these say so by themselves. Nothing is lost: their records are simply not
# acknowledged, and a new producer takes the next ones.
_PRODUCER_ENDED: tuple[type[Exception], ...] = (
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.ProducerFencedError,
    kafka_errors.UnknownProducerIdError,
    kafka_errors.InvalidProducerIdMappingError,
    kafka_errors.DuplicateSequenceNumberError,
    kafka_errors.IllegalStateError,
)

# Retryable although the library does not say so (Java's client retries the first two). A broker
# whose heartbeat was late is in no metadata for a moment, and then the client knows no such id.
_HEALS: tuple[type[Exception], ...] = (
    *_PRODUCER_ENDED,
    kafka_errors.CorruptRecordError,
    kafka_errors.UnknownError,
    kafka_errors.BrokerNotAvailableError,
    kafka_errors.UnknownBrokerIdError,
    kafka_errors.StaleControllerEpochError,
    kafka_errors.StaleBrokerEpochError,
    kafka_errors.KafkaProtocolError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.ReassignmentInProgressError,
)

# What loading TLS files raises; every other OSError may heal.
_FILES_AT_FAULT: tuple[type[OSError], ...] = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ssl.SSLError,
)

_NEXT_STEPS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (
            kafka_errors.SaslAuthenticationFailedError,
            kafka_errors.UnsupportedSaslMechanismError,
            kafka_errors.IllegalSaslStateError,
        ),
        "correct kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password",
    ),
    (
        (
            kafka_errors.AuthorizationError,
            kafka_errors.TopicAuthorizationFailedError,
            kafka_errors.GroupAuthorizationFailedError,
            kafka_errors.ClusterAuthorizationFailedError,
        ),
        "grant the Kafka user of kafka.sasl_username the rights on Hilum's topics and groups",
    ),
    (
        # Sizes are checked against the topic table before anything is sent, so this is no
        # record's fault: the topic allows less than the table says.
        (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError),
        "raise the topic's max.message.bytes to that of the topic table (`hilum up` does it)",
    ),
    (
        (kafka_errors.UnsupportedVersionError, kafka_errors.UnsupportedForMessageFormatError),
        "use Kafka 3.7 or later",
    ),
    (
        (kafka_errors.FencedInstanceIdError,),
        "another process was started under this one's name: give each a name of its own "
        "(object-archive, object-archive-2, …)",
    ),
    ((kafka_errors.InvalidTopicError,), "correct kafka.topic_prefix"),
    ((kafka_errors.KafkaConfigurationError,), "correct the settings under [kafka]"),
)


def translate(cause: Exception, doing: str) -> HilumError:
    """The failure that `cause` means; `doing` is a gerund with identifiers."""
    text = f"{doing}: {cause}"
    if is_retryable(cause):
        return RetryableError(text)
    if isinstance(cause, OSError):
        if not isinstance(cause, _FILES_AT_FAULT):
            # A network, descriptor or memory shortage of this moment (EMFILE, ENETUNREACH, …).
            return RetryableError(text)
        return FatalError(text, "name readable files in kafka.ca_file, certificate_file, key_file")
    for kinds, next_step in _NEXT_STEPS:
        if isinstance(cause, kinds):
            return FatalError(text, next_step)
    return FatalError(text, "look the error up in the broker's log")


def is_retryable(cause: Exception) -> bool:
    """Whether the same work may succeed later."""
    return bool(getattr(cause, "retriable", False)) or isinstance(cause, _HEALS)


def ends_the_producer(cause: Exception) -> bool:
    """Whether the producer that failed so must be replaced (kafka-python 3.0, KIP-360).

    It goes into a fatal state after every error that is not retriable, and then fails whatever
    it holds with that same error.
    """
    return isinstance(cause, _PRODUCER_ENDED) or not getattr(cause, "retriable", False)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Runs a block whose Kafka exceptions leave as failures of ours.

    A time-out during which a broker refused our login is that refusal.
    """
    began = time.monotonic()
    try:
        yield
    except kafka_errors.KafkaTimeoutError as cause:
        raise translate(refusal_since(began) or cause, doing) from cause
    except (kafka_errors.KafkaError, OSError) as cause:
        raise translate(cause, doing) from cause
