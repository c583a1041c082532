"""A line to an S3 store on which the requests for objects are counted.

Invariant: it alters no byte, and counts what was asked for and not what was meant to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.tcp_proxy import TcpProxy

_GET = re.compile(rb"GET (\S+) HTTP/1\.1\r\n")


class CountingProxy(TcpProxy):
    """`paths` has one entry for each GET. Requests that pass must have no body."""

    def __init__(self, host: str, port: int) -> None:
        self.paths: list[str] = []
        super().__init__(host, port)

    def _watcher(self) -> Callable[[bytes], None]:
        head = bytearray()

        def watch(data: bytes) -> None:
            head.extend(data)
            # A request counts once its head is whole; none is begun before the last is answered.
            if head.endswith(b"\r\n\r\n"):
                self.paths += [path.decode() for path in _GET.findall(bytes(head))]
                head.clear()

        return watch
