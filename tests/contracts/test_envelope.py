"""Kafka headers: CloudEvents binary mode and W3C trace context, and nothing of a patient."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.envelope import Origin, event_headers, traceparent
from contracts.events import EVENT_TYPES, Event
from contracts.example_catalog import examples_of
from contracts.topics import BY_EVENT

DELIVERY_ID = "019cebad-5ece-7e12-ab06-5e37b578e0b8"
NOW = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_carries_the_required_attributes(event_type: type[Event]) -> None:
    event = examples_of(event_type)[0]
    headers = dict(event_headers(type(event), DELIVERY_ID, Origin("/hilum/north/forward"), NOW))
    assert set(headers) == {
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "content-type",
        "traceparent",
    }
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == DELIVERY_ID.encode()
    assert headers["ce_type"] == f"hilum.{BY_EVENT[event_type].name}".encode()
    assert headers["ce_source"] == b"/hilum/north/forward"
    assert headers["ce_time"] == b"2026-03-14T09:26:53.589793Z"
    assert TRACEPARENT.fullmatch(headers["traceparent"])


def test_times_are_told_in_utc() -> None:
    event = examples_of(EVENT_TYPES[0])[0]
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert event_headers(type(event), "a", Origin("/x"), there)[4] == (
        "ce_time",
        b"2026-03-14T09:26:53.589793Z",
    )


def test_the_hops_of_one_delivery_share_a_trace() -> None:
    first, second = traceparent(DELIVERY_ID), traceparent(DELIVERY_ID)
    assert first.split("-")[1] == second.split("-")[1] == DELIVERY_ID.replace("-", "")
    assert first.split("-")[2] != second.split("-")[2], "each hop is a span of its own"
    assert TRACEPARENT.fullmatch(traceparent("no uuid").encode())


def test_the_chunks_of_a_delivery_belong_to_its_trace() -> None:
    assert traceparent(f"{DELIVERY_ID}/3").split("-")[1] == DELIVERY_ID.replace("-", "")


def test_a_given_trace_is_continued() -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = examples_of(EVENT_TYPES[0])[0]
    assert dict(event_headers(type(event), "a", Origin("/x", given), NOW))["traceparent"] == (
        given.encode()
    )


def test_no_header_carries_what_the_data_set_says() -> None:
    for event_type in EVENT_TYPES:
        for event in examples_of(event_type):
            headers = event_headers(type(event), DELIVERY_ID, Origin("/hilum/north/forward"), NOW)
            text = b" ".join(value for _, value in headers)
            assert b"Example" not in text and b"EX-17" not in text
