"""Whether a requested instance is committed, must be waited for, or has failed and why.

Invariant: committed means that every content we ever received under this SOP Instance UID and
class is held as strongly as asked, so whichever bytes the peer has, they are held. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal

from edge_gateway.association.contexts import is_storage
from edge_gateway.commitment.custody_view import Holding
from edge_gateway.commitment.request import Reference
from edge_gateway.progress_rows import DeliveryState

Strength = Literal["archive", "dr"]
# Where custody is still true. What was archived and is under way again was asked for by the centre:
# whether the archive has it, custody says when it has come by once more.
_SETTLED = frozenset((DeliveryState.ARCHIVED, DeliveryState.PURGED))
_UNDER_WAY = frozenset((DeliveryState.SPOOLED, DeliveryState.PUBLISHED))
# From here nothing becomes archived by waiting: a person or another delivery has to help.
_STUCK = frozenset((DeliveryState.REFUSED, DeliveryState.LOST, DeliveryState.QUARANTINED))


class FailureReason(IntEnum):
    """Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131


class Outcome(IntEnum):
    """What is no failure."""

    COMMITTED = 0
    WAITING = 1


def judge(
    reference: Reference, holdings: Sequence[Holding], strength: Strength
) -> Outcome | FailureReason:
    """The outcome for one instance from every delivery that is known of it."""
    if not is_storage(reference.sop_class_uid):
        return FailureReason.CLASS_NOT_SUPPORTED
    if not holdings:
        return FailureReason.NO_SUCH_INSTANCE
    of_class = [h for h in holdings if h.sop_class_uid == reference.sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    contents: dict[str, list[Holding]] = {}
    for holding in of_class:
        contents.setdefault(holding.content_sha256, []).append(holding)
    outcomes = {_content(deliveries, strength) for deliveries in contents.values()}
    if FailureReason.PROCESSING_FAILURE in outcomes:
        return FailureReason.PROCESSING_FAILURE
    return Outcome.WAITING if Outcome.WAITING in outcomes else Outcome.COMMITTED


def _content(deliveries: Sequence[Holding], strength: Strength) -> Outcome | FailureReason:
    """One delivery that is held is enough, the others have the same bytes; unless one of them was
    archived and is asked for again: then the archive may have lost them all.
    """
    if any(_is_in_doubt(delivery) for delivery in deliveries):
        return Outcome.WAITING
    if any(_is_held(delivery, strength) for delivery in deliveries):
        return Outcome.COMMITTED
    if any(_may_become_held(delivery) for delivery in deliveries):
        return Outcome.WAITING
    return FailureReason.PROCESSING_FAILURE


def _is_held(delivery: Holding, strength: Strength) -> bool:
    if not delivery.is_archived or delivery.state not in _SETTLED:
        return False
    return strength == "archive" or delivery.is_replicated


def _is_in_doubt(delivery: Holding) -> bool:
    return delivery.is_archived and delivery.state in _UNDER_WAY


def _may_become_held(delivery: Holding) -> bool:
    if delivery.state is DeliveryState.PURGED:
        # Archived, and the second site is still to come; or released without ever being archived.
        return delivery.is_archived
    return delivery.state not in _STUCK
