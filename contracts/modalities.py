"""The modality that a storage SOP Class belongs to, as far as the class alone tells it.

Invariant: a class is here only if its instances have that one value in Modality (0008,0060) by
its IOD (PS3.3); of all others, such as secondary capture, nothing is said. Pure.
"""

from __future__ import annotations

_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Modality (PS3.3 C.7.3.1.1.1) → the classes' last components under the storage root.
_CLASSES: dict[str, tuple[str, ...]] = {
    "CR": ("1",),
    "CT": ("2", "2.1", "2.2"),
    "DX": ("1.1", "1.1.1"),
    "IO": ("1.3", "1.3.1"),
    "MG": ("1.2", "1.2.1", "13.1.3", "13.1.4", "13.1.5"),
    "MR": ("4", "4.1", "4.2", "4.3", "4.4"),
    "NM": ("20",),
    "PT": ("128", "128.1", "130"),
    "RF": ("12.2", "12.2.1"),
    "RTDOSE": ("481.2",),
    "RTIMAGE": ("481.1",),
    "RTPLAN": ("481.5", "481.8"),
    "RTSTRUCT": ("481.3",),
    "SEG": ("66.4", "66.5"),
    "SM": ("77.1.6",),
    "SR": ("88.11", "88.22", "88.33", "88.34", "88.67"),
    "US": ("3.1", "6.1", "6.2"),
    "XA": ("12.1", "12.1.1", "13.1.1"),
}
MODALITY_OF_CLASS = {
    _STORAGE + component: modality
    for modality, components in _CLASSES.items()
    for component in components
}
KNOWN_MODALITIES = frozenset(_CLASSES)


def modality_of(sop_class_uid: str) -> str:
    """The modality of a class; '' where the class does not tell it."""
    return MODALITY_OF_CLASS.get(sop_class_uid, "")
