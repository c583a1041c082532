"""This machine's clock beside those of the engines and of the gateways.

Invariant: a difference counts only beyond what the round trip leaves open, and nothing is set.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from infra.clickhouse import ClickHouseDatabase
from infra.settings import ClickHouseSettings, ObjectStoreSettings, Settings
from operations.findings import Finding, Verdict, judge
from operations.gateway_words import gateway_words

SKEW_WARNING_S = 2.0
# S3 refuses signatures that are 15 minutes off; long before that, times mislead people.
SKEW_ERROR_S = 300.0
HTTP_TIMEOUT_S = 5.0
# A Date header has whole seconds.
DATE_RESOLUTION_S = 1.0
# A gateway speaks every 10 s; what it said longer ago tells nothing of its clock now.
WORD_AGE_S_MAX = 600.0


def skew_s(remote: datetime, asked: datetime, answered: datetime, resolution_s: float) -> float:
    """How far `remote` is ahead at least (negative: behind); 0 where the round trip explains it."""
    early = (remote - answered).total_seconds()
    late = (remote - asked).total_seconds() + resolution_s
    if early > 0:
        return early
    return min(late, 0.0)


def store_clock(subject: str, store: ObjectStoreSettings) -> Finding:
    """By the Date header of its answer to nobody. Raises OSError, HTTPException, ValueError."""
    asked = datetime.now(UTC)
    date = _date_header(store)
    answered = datetime.now(UTC)
    skew = skew_s(parsedate_to_datetime(date), asked, answered, DATE_RESOLUTION_S)
    return _finding(subject, skew, "this machine")


def _date_header(store: ObjectStoreSettings) -> str:
    host, _, port = store.endpoint.partition(":")
    connection: http.client.HTTPConnection
    if store.secure:
        context = ssl.create_default_context(cafile=store.ca_file)
        number = int(port or 443)
        connection = http.client.HTTPSConnection(
            host, number, timeout=HTTP_TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, int(port or 80), timeout=HTTP_TIMEOUT_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().headers.get("Date", "")
    finally:
        connection.close()


def clickhouse_clock(subject: str, settings: ClickHouseSettings) -> Finding:
    """By its own now. Raises RetryableError, FatalError."""
    server = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    try:
        server.query("SELECT 1")  # connects, so that the next answer is one round trip
        asked = datetime.now(UTC)
        now = server.query("SELECT toUnixTimestamp64Micro(now64(6)) AS now")[0]["now"]
        answered = datetime.now(UTC)
    finally:
        server.close()
    remote = datetime.fromtimestamp(int(str(now)) / 1_000_000, UTC)
    return _finding(subject, skew_s(remote, asked, answered, 0.0), "this machine")


def gateway_clocks(settings: Settings) -> Iterator[Finding]:
    """Kafka tells no time, but it stamps what gateways say: each one's last word shows both."""
    fresh = [
        word
        for word in gateway_words(settings.kafka).values()
        if time.time() - word.taken_at.timestamp() < WORD_AGE_S_MAX
    ]
    for word in fresh:
        behind = word.behind_s
        # On the way to the broker a word may wait for a while: only that is no skew.
        skew = -behind if behind < 0 else min(0.0, SKEW_WARNING_S - behind)
        yield _finding(f"gateway {word.state.gateway_name}", skew, "the broker")
    if not fresh:
        seen = "no gateway has spoken lately"
        wanted = ("gateways that speak every 10 s", "./hilum status")
        yield judge("kafka", "clock", "warning", seen, wanted)


def _finding(subject: str, skew: float, reference: str) -> Finding:
    verdict: Verdict = "ok"
    if abs(skew) >= SKEW_WARNING_S:
        verdict = "error" if abs(skew) >= SKEW_ERROR_S else "warning"
    seen = "no difference that can be told"
    if skew:
        seen = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} {reference}"
    wanted = (f"within {SKEW_WARNING_S:.0f} s of {reference}", "timedatectl set-ntp true   (there)")
    return judge(subject, "clock", verdict, seen, wanted)
