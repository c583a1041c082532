"""The nemesis' tools: plans that repeat, and a proxy that spoils what it says and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.http_proxy import Fault, HttpProxy, Request, Schedule, Spoil
from tests.faults.nemesis import KINDS, draw_plan
from tests.faults.spoilt_answers import S3_ERRORS, is_upload

BODY = bytes(range(256)) * 700
DIED = (ConnectionError, http.client.HTTPException)


class Echo(BaseHTTPRequestHandler):
    """Answers with the sha256 of what it was sent, and keeps it."""

    protocol_version = "HTTP/1.1"
    taken: list[str] = []  # noqa: RUF012 - http.server makes the instances

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        text = hashlib.sha256(data).hexdigest()
        self.taken.append(text)
        self._answer(text.encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "64")
        self.end_headers()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    """A proxy in front of an Echo that has taken nothing yet."""
    Echo.taken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = HttpProxy("127.0.0.1", server.server_address[1])
    yield found
    found.close()
    server.shutdown()
    server.server_close()


def put(proxy: HttpProxy, is_chunked: bool = False) -> tuple[int, str]:
    """Status and body of one upload on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        body = iter([BODY[:1000], BODY[1000:]]) if is_chunked else BODY
        connection.request("PUT", "/x", body, encode_chunked=is_chunked)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_same_seed_draws_the_same_plan() -> None:
    kinds = sorted(KINDS)
    plan = draw_plan(1, kinds, 120.0)
    assert plan == draw_plan(1, kinds, 120.0) != draw_plan(2, kinds, 120.0)
    assert {step.fault for step in draw_plan(3, kinds, 2_000.0)} == set(kinds)
    for one, next_one in itertools.pairwise(plan):
        assert one.target in KINDS[one.fault].targets
        assert one.at_s + one.lasts_s < next_one.at_s


def test_a_schedule_hits_exactly_one_of_so_many() -> None:
    schedule = Schedule(1, 10)
    hits = [schedule.is_hit() for _ in range(100)]
    assert [sum(hits[start : start + 10]) for start in range(0, 100, 10)] == [1] * 10
    again = Schedule(1, 10)
    assert hits == [again.is_hit() for _ in range(100)]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_what_is_not_spoilt_passes_byte_for_byte(proxy: HttpProxy, is_chunked: bool) -> None:
    proxy.watch = is_upload
    assert put(proxy, is_chunked) == (200, hashlib.sha256(BODY).hexdigest())
    assert proxy.watched == 1 and not proxy.spoilt


def test_one_connection_carries_many_requests(proxy: HttpProxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    for method in ("PUT", "HEAD", "PUT"):
        connection.request(method, "/x", BODY if method == "PUT" else None)
        assert connection.getresponse().read() is not None
    connection.close()
    assert len(Echo.taken) == 2


def test_an_error_is_answered_in_the_servers_place(proxy: HttpProxy) -> None:
    proxy.spoil(Fault(Spoil.ANSWER, answers=S3_ERRORS), seed=1, one_in=1)
    status, text = put(proxy)
    assert status in (500, 503) and "<Code>" in text and Echo.taken == []
    proxy.heal()
    assert put(proxy)[0] == 200


@pytest.mark.parametrize("spoil", [Spoil.LOSE_ANSWER, Spoil.DIE_AFTER_BODY])
def test_the_server_took_what_nobody_hears_of(proxy: HttpProxy, spoil: Spoil) -> None:
    proxy.spoil(Fault(spoil, is_upload), seed=1, one_in=1)
    with pytest.raises(DIED):
        put(proxy)
    if spoil is Spoil.LOSE_ANSWER:
        assert Echo.taken == [hashlib.sha256(BODY).hexdigest()]
    proxy.heal()
    assert put(proxy)[0] == 200


@pytest.mark.parametrize("is_chunked", [False, True])
def test_one_bit_is_turned_and_the_framing_holds(proxy: HttpProxy, is_chunked: bool) -> None:
    proxy.spoil(Fault(Spoil.FLIP_BODY), seed=1, one_in=1)
    status, text = put(proxy, is_chunked)
    assert status == 200 and text != hashlib.sha256(BODY).hexdigest()


def test_only_matching_requests_are_hit(proxy: HttpProxy) -> None:
    def never(request: Request) -> bool:
        return request.method == "POST"

    proxy.spoil(Fault(Spoil.LOSE_ANSWER, never), seed=1, one_in=1)
    assert put(proxy)[0] == 200 and not proxy.spoilt
