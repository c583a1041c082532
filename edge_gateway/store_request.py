"""The values of one C-STORE: who sends, what is asked, what is answered.

Invariant: values only, as the peer and the settings gave them. Must not decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_gateway.levels import Level


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of an association, as admission judged and the peer said."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    implementation_class_uid: str
    implementation_version_name: str
    mismatch: Literal["accept", "refuse"]
    level: Level = Level.DISK
    answer_within_ms: int = 0
    unarchived_bytes_max: int | None = None
    object_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """The C-STORE-RQ's command set and the transfer syntax of its context (PS3.7 9.3.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    is_storage_class: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the peer is told: a status and the Error Comment ('' for none)."""

    status: int
    comment: str
