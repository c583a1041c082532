"""The few lines of ustar that a pack needs: one header form, written and read.

Invariant: a header follows from name, size and modification time alone, so that equal input gives
equal bytes; nothing but regular files is written or accepted. Source: POSIX.1-1988 ustar
interchange format.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BYTES = 512
END_BYTES = 2 * BLOCK_BYTES
# Eleven octal digits are what a ustar size or time field holds; above it extensions begin, which
# not every tar reads.
SIZE_BYTES_MAX = 8**11 - 1
NAME_BYTES_MAX = 100


@dataclass(frozen=True, slots=True)
class TarHeader:
    """What a header says of its member."""

    name: str
    size_bytes: int


def header(name: str, size_bytes: int, mtime_s: int) -> bytes:
    """512 bytes: mode 0644, uid and gid 0, no owner names. Raises ValueError beyond the format."""
    encoded = name.encode("ascii")
    if len(encoded) > NAME_BYTES_MAX or not encoded:
        raise ValueError(f"a member name has 1 to {NAME_BYTES_MAX} bytes, not {len(encoded)}")
    if not 0 <= size_bytes <= SIZE_BYTES_MAX:
        raise ValueError(f"a member of {size_bytes} bytes does not fit ustar")
    before = b"".join(
        (
            encoded.ljust(100, b"\0"),
            b"0000644\0",
            b"0000000\0",
            b"0000000\0",
            b"%011o\0" % size_bytes,
            # A device clock before 1970 or after 2242 is not worth refusing an image for.
            b"%011o\0" % min(max(mtime_s, 0), SIZE_BYTES_MAX),
        )
    )
    after = b"".join(
        (b"0", bytes(100), b"ustar\0", b"00", bytes(64), b"0000000\0" * 2, bytes(155), bytes(12))
    )
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def parse_header(block: bytes) -> TarHeader | None:
    """The header in a block, None for a zero block (the archive's end). Raises ValueError."""
    if len(block) != BLOCK_BYTES:
        raise ValueError(f"a tar header has {BLOCK_BYTES} bytes, not {len(block)}")
    if block == bytes(BLOCK_BYTES):
        return None
    if block[257:263] != b"ustar\0" or block[156:157] != b"0":
        raise ValueError("not the ustar header of a regular file")
    stated = int(block[148:154], 8)
    if stated != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise ValueError("a tar header's checksum does not agree")
    return TarHeader(block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8))


def padding(size_bytes: int) -> int:
    """How many zero bytes bring a member to the next block."""
    return -size_bytes % BLOCK_BYTES
