"""Synthetic studies by modality: templates made once, stamped as any instance.

Invariant: valid for their SOP class, invented from a seed, no patient data.
"""

from load.studies.cache import default_cache
from load.studies.compression import compressions_of
from load.studies.identity import Identity, Place
from load.studies.kind import Kind, Size
from load.studies.kinds import KINDS
from load.studies.making import templates
from load.studies.part10 import renew_part10, write_part10
from load.studies.template import Template, stamp, stamp_into, stamp_parts

__all__ = [
    "KINDS",
    "Identity",
    "Kind",
    "Place",
    "Size",
    "Template",
    "compressions_of",
    "default_cache",
    "renew_part10",
    "stamp",
    "stamp_into",
    "stamp_parts",
    "templates",
    "write_part10",
]
