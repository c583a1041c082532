"""Request bodies are read whole, decoded and bounded."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import pytest
import zstandard

from infra.engines import clickhouse_body as module
from infra.engines.clickhouse_body import BodyError, BodyTooLarge, receive_body

lz4_frame = pytest.importorskip("lz4.frame")
DATA = b"".join(bytes([number % 251]) * 70_001 for number in range(40))
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4_frame.compress,
}


def received(wire: bytes, encoding: str, chunked: bool = False) -> bytes:
    if chunked:
        parts = [wire[at : at + 9_999] for at in range(0, len(wire), 9_999)]
        framed = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts)
        body = receive_body(io.BytesIO(framed + b"0\r\nT: v\r\n\r\n"), None, "chunked", encoding)
    else:
        body = receive_body(io.BytesIO(wire), str(len(wire)), None, encoding)
    data = body.read()
    assert body.size_bytes == len(data)
    body.close()
    return data


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", CODECS)
def test_every_encoding_also_in_several_frames(encoding: str, chunked: bool) -> None:
    compress = CODECS[encoding]
    assert received(compress(DATA), encoding, chunked) == DATA
    frames = b"".join(compress(DATA[at : at + 100_000]) for at in range(0, len(DATA), 100_000))
    assert received(frames, encoding, chunked) == DATA


@pytest.mark.parametrize("encoding", [name for name in CODECS if name != "identity"])
def test_torn_or_broken_compression_is_refused(encoding: str) -> None:
    wire = CODECS[encoding](DATA)
    for broken in (wire[:-3], b"\x00" + wire, wire[: len(wire) // 2]):
        with pytest.raises(BodyError):
            received(broken, encoding)


@pytest.mark.parametrize("framing", [b"zz\r\n", b"-1\r\n", b"5\r\nabc", b"3\r\nabcX\r\n0\r\n\r\n"])
def test_broken_chunks_are_refused(framing: bytes) -> None:
    with pytest.raises(BodyError):
        receive_body(io.BytesIO(framing), None, "chunked", None)


def test_a_body_shorter_than_its_length_is_refused() -> None:
    with pytest.raises(BodyError, match="mid-body"):
        receive_body(io.BytesIO(b"abc"), "4", None, None)


def test_limits_hold_before_and_after_decompression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_BYTES_MAX", 100_000)
    with pytest.raises(BodyTooLarge):
        receive_body(io.BytesIO(b""), "100001", None, None)
    bomb = gzip.compress(bytes(1_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge):
        received(bomb, "gzip")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(BodyError, match="br"):
        receive_body(io.BytesIO(b""), "0", None, "br")
