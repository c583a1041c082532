"""A proxy that understands HTTP/1.1 framing and spoils single requests between client and engine.

Invariant: what no fault is chosen for passes byte for byte; a fault hits whole requests and is
counted by its name, so that a test can see that it happened. It must not know S3 or ClickHouse:
faults come with their bytes.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader

from tests.tcp_proxy import BLOCK_BYTES, Line, TcpProxy

HEAD_LINES_MAX = 200
BODY_START_BYTES = 256
ONE_IN = 10


class Spoil(StrEnum):
    """What becomes of one request."""

    ANSWER = "answer"  # the request is read and dropped; an error is answered in its place
    DIE_AFTER_BODY = "die after body"  # the engine got all of it; the line dies before the answer
    LOSE_ANSWER = "lose answer"  # the engine answered success; nobody hears it
    FLIP_BODY = "flip body"  # one bit of the request's body is another one
    FLIP_ANSWER = "flip answer"  # one bit of the answer's body is, each time in another byte


@dataclass(frozen=True, slots=True)
class Request:
    """The first line of a request, whether a body follows, how that begins, and its length.

    `size_bytes` is 0 where the length is not told before.
    """

    method: str
    target: str
    has_body: bool
    body_start: bytes
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do to requests for which `matches` is true.

    `answers`: for Spoil.ANSWER, whole answers without Content-Length, one of which is drawn.
    """

    spoil: Spoil
    matches: Callable[[Request], bool] = lambda request: True
    answers: tuple[bytes, ...] = ()


class Schedule:
    """Which of the matching requests are hit: one of every `one_in`, at a place that a seed draws.

    Exact instead of a coin, so that a short run is hit as often as a long one says.
    """

    def __init__(self, seed: int, one_in: int = ONE_IN) -> None:
        self._random = random.Random(seed)
        self._one_in = one_in
        self._left: list[bool] = []

    def is_hit(self) -> bool:
        """Whether the next request is."""
        if not self._left:
            self._left = [True] + [False] * (self._one_in - 1)
            self._random.shuffle(self._left)
        return self._left.pop()

    def choice(self, count: int) -> int:
        """A number below `count`."""
        return self._random.randrange(count)


class HttpProxy(TcpProxy):
    """A TcpProxy that can also spoil requests: `spoil` begins it, `heal` ends it."""

    def __init__(self, host: str, port: int) -> None:
        self._plan: tuple[Fault, Schedule] | None = None
        self._plan_lock = threading.Lock()
        self.spoilt: Counter[str] = Counter()
        # Requests for which `watch` is true are counted.
        self.watch: Callable[[Request], bool] = lambda request: False
        self.watched = 0
        super().__init__(host, port)

    def spoil(self, fault: Fault, seed: int, one_in: int = ONE_IN) -> None:
        """From now on one of every `one_in` matching requests is hit."""
        with self._plan_lock:
            self._plan = (fault, Schedule(seed, one_in))

    def heal(self) -> None:
        """Everything passes again, at once and whole."""
        with self._plan_lock:
            self._plan = None
        self.delay_s = 0.0
        self.is_stalled.clear()
        self.open()

    def _serve(self, line: Line) -> None:
        threading.Thread(target=self._until_end, args=(self._exchange, line), daemon=True).start()

    def _exchange(self, line: Line) -> None:
        """Requests and answers of one connection, one after the other."""
        from_client = line.client.makefile("rb")
        from_server = line.server.makefile("rb")
        with from_client, from_server:
            while head := read_head(from_client):
                request = _request_of(head, from_client)
                self.watched += self.watch(request)
                if not self._pass(line, request, head, from_client, from_server):
                    return

    def _pass(
        self,
        line: Line,
        request: Request,
        head: bytes,
        client: BufferedReader,
        server: BufferedReader,
    ) -> bool:
        """One exchange; False where the connection is over."""
        fault, draw = self._chosen(request)
        spoil = fault.spoil if fault else None
        if fault and spoil is Spoil.ANSWER:
            for _ in body_of(head, client):
                pass
            line.client.sendall(_answer(fault.answers[draw], request))
            return True
        self.pass_up(line, head)
        is_flipped = spoil is not Spoil.FLIP_BODY
        for block in body_of(head, client):
            self.pass_up(line, block if is_flipped else _flipped(block))
            is_flipped = True
        if spoil is Spoil.DIE_AFTER_BODY:
            return False
        answer = read_head(server)
        if not answer or (spoil is Spoil.LOSE_ANSWER and _is_success(answer)):
            return False
        self.pass_down(line, answer)
        flip_at = self.spoilt[spoil.value] if spoil is Spoil.FLIP_ANSWER else 0
        if request.method != "HEAD":
            for block in body_of(answer, server, is_answer=True):
                self.pass_down(line, _flipped(block, flip_at) if flip_at else block)
                flip_at = 0
        return not _is_last(answer) and not _is_last(head)

    def _chosen(self, request: Request) -> tuple[Fault | None, int]:
        with self._plan_lock:
            if self._plan is None or not self._plan[0].matches(request):
                return None, 0
            fault, schedule = self._plan
            if not schedule.is_hit():
                return None, 0
            self.spoilt[fault.spoil.value] += 1
            return fault, schedule.choice(len(fault.answers)) if fault.answers else 0


def read_head(stream: BufferedReader) -> bytes:
    """Request or status line and headers with the empty line; b"" at the connection's end."""
    lines = []
    for _ in range(HEAD_LINES_MAX):
        line = stream.readline(BLOCK_BYTES)
        if not line:
            return b""
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            return b"".join(lines)
    raise ValueError("a head of too many lines")


def body_of(head: bytes, stream: BufferedReader, is_answer: bool = False) -> Iterator[bytes]:
    """The body that follows a head, framing included, in blocks as they come."""
    if _header(head, b"transfer-encoding").lower() == b"chunked":
        yield from _chunks(stream)
        return
    length = _header(head, b"content-length")
    if is_answer and not length:
        if head.split(b" ", 2)[1] not in (b"204", b"304"):
            while block := stream.read(BLOCK_BYTES):  # until the connection's end
                yield block
        return
    left = int(length or b"0")
    while left > 0:
        block = stream.read(min(left, BLOCK_BYTES))
        if not block:
            raise ValueError("the body ended too early")
        left -= len(block)
        yield block


def _chunks(stream: BufferedReader) -> Iterator[bytes]:
    while True:
        size_line = stream.readline(BLOCK_BYTES)
        if not size_line:
            raise ValueError("the body ended too early")
        size = int(size_line.split(b";")[0], 16)
        data = stream.read(size + 2)
        yield size_line + data
        if size == 0:
            return


def _flipped(block: bytes, place: int = 1) -> bytes:
    """The block with one bit turned in its last data byte, or `place` - 1 bytes before it.

    A chunk's own framing is left alone.
    """
    at = max(len(block) - 2 - place, 0)
    return block[:at] + bytes([block[at] ^ 0x01]) + block[at + 1 :]


def _request_of(head: bytes, stream: BufferedReader) -> Request:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    size_bytes = int(_header(head, b"content-length") or b"0")
    has_body = size_bytes > 0 or bool(_header(head, b"transfer-encoding"))
    body_start = stream.peek(BODY_START_BYTES) if has_body else b""
    return Request(method, target, has_body, body_start, size_bytes)


def _answer(answer: bytes, request: Request) -> bytes:
    """An error with its length; to a HEAD without its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + length + (b"" if request.method == "HEAD" else body)


def _is_success(answer: bytes) -> bool:
    return answer.split(b" ", 2)[1].startswith(b"2")


def _is_last(head: bytes) -> bool:
    return _header(head, b"connection").lower() == b"close"


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""
