"""The standard's names of UIDs (PS3.6 annex A), for people.

Invariant: an unknown UID is shown as it is, never guessed.
"""

from __future__ import annotations

from pydicom.uid import UID

# In the standard since 2024, and not yet in the library's dictionary.
_NEWER = {"1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression"}


def uid_name(uid: str) -> str:
    """The name, or the UID itself."""
    return _NEWER.get(uid) or UID(uid).name or uid
