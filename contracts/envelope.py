"""The Kafka headers of every event: CloudEvents binary mode and W3C trace context.

Invariant: headers carry ids and types, never anything of a patient. Source: CloudEvents 1.0 Kafka
protocol binding 3.2, W3C Trace Context 2.2.
"""

from __future__ import annotations

import random
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.events import Event
from contracts.topics import BY_EVENT

Headers = tuple[tuple[str, bytes], ...]

CONTENT_TYPE = b"application/vnd.confluent.avro"
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A span id only has to differ from others; a system call for each record was 7 % of a forwarder.
_spans = random.Random()


@dataclass(frozen=True, slots=True)
class Origin:
    """Who publishes (`/hilum/<site>/<process>`), and the trace it continues ('' to start one)."""

    source: str
    traceparent: str = ""


def event_headers(event_type: type[Event], event_id: str, origin: Origin, now: datetime) -> Headers:
    """CloudEvents attributes and `traceparent` for one event of that type.

    `event_id` is unique for the source (a delivery id where there is one), so that a repeat on
    the wire can be seen to be one.
    """
    topic = BY_EVENT[event_type]
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", f"hilum.{topic.name}".encode()),
        ("ce_source", origin.source.encode()),
        ("ce_time", now.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
        ("content-type", CONTENT_TYPE),
        ("traceparent", (origin.traceparent or traceparent(event_id)).encode()),
    )


def traceparent(event_id: str) -> str:
    """A trace context whose trace id is the 128 bits of the UUID that the event id begins with.

    So every hop of one delivery, its chunks (`<delivery id>/<index>`) included, is found under one
    trace without anything having to be passed. Any other id is hashed.
    """
    name = event_id.partition("/")[0]
    if _CANONICAL_UUID.fullmatch(name):
        trace_id = name.replace("-", "")
    else:
        trace_id = uuid.uuid5(uuid.NAMESPACE_OID, event_id).hex
    return f"00-{trace_id}-{_spans.getrandbits(64):016x}-01"
