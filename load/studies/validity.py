"""What dicom3tools' `dciodvfy` says of a file: whether it is valid for its SOP class.

Invariant: a missing program or one too old for a transfer syntax is named, never counted as valid.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import HTJ2KLossless

PROGRAM = "dciodvfy"
SECONDS_MAX = 60.0
# It knows no vendor's private elements and no local codes; neither is a fault.
_EXPECTED = re.compile(r"Unrecognized tag - assuming explicit|<99SYN>")
# Transfer syntaxes that were standardised after the packaged release.
_TOO_NEW = frozenset({str(HTJ2KLossless)})


@dataclass(frozen=True, slots=True)
class Validity:
    """Errors and warnings as it words them, or why it was not asked."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    not_checked: str = ""

    @property
    def text(self) -> str:
        """For a table's cell."""
        if self.not_checked:
            return "not checked"
        if self.errors:
            return f"{len(self.errors)} errors"
        return f"valid, {len(self.warnings)} warnings" if self.warnings else "valid"


def validity(path: Path, transfer_syntax_uid: str) -> Validity:
    """What `dciodvfy` says of the Part-10 file, private elements and local codes left out."""
    program = shutil.which(PROGRAM)
    if program is None:
        return Validity(not_checked=f"{PROGRAM} is not installed")
    if transfer_syntax_uid in _TOO_NEW:
        return Validity(not_checked=f"{PROGRAM} does not know {transfer_syntax_uid}")
    try:
        done = subprocess.run(
            [program, str(path)], capture_output=True, check=False, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return Validity(not_checked=f"{PROGRAM} took longer than {SECONDS_MAX:.0f} s")
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    told = [line for line in lines if not _EXPECTED.search(line)]
    errors = tuple(line for line in told if "Error" in line)
    if done.returncode not in (0, 1) and not errors:
        errors = (f"{PROGRAM} ended with {done.returncode}",)
    return Validity(errors, tuple(line for line in told if "Warning" in line))
