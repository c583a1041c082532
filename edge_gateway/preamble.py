"""What else a file is beside Part 10, told from its preamble (PS3.10 7.1, 7.5).

Invariant: a preamble is only looked at; it is never sent, since C-STORE carries the data set and
the gateway's archive writes a preamble of its own. Must not open files.
"""

from __future__ import annotations

PREAMBLE_BYTES = 128
# The standard leaves the preamble to the application: TIFF is its own example of use, and the
# same freedom lets one file be an image and a program.
_KINDS = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"#!", "a script"),
    (b"\xfe\xed\xfa\xce", "a macOS program"),
    (b"\xfe\xed\xfa\xcf", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a Java class or macOS program"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"PK", "a zip archive"),
    (b"%PDF", "a PDF document"),
    (b"<", "a document with markup"),
)


def preamble_finding(preamble: bytes) -> str:
    """What the file would also be taken for; '' for zeros and for what nothing would run."""
    for magic, kind in _KINDS:
        if preamble.startswith(magic):
            return f"the preamble makes the file {kind} too"
    return ""
