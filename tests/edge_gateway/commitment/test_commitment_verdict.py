"""What one requested instance is called, from every delivery that custody knows of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edge_gateway.commitment.custody_view import Holding
from edge_gateway.commitment.request import Reference
from edge_gateway.commitment.verdict import FailureReason, Outcome, Strength, judge
from edge_gateway.progress_rows import DeliveryState
from tests.edge_gateway.commitment.modality_scu import CT

MR = "1.2.840.10008.5.1.4.1.1.4"
SPOOLED, ARCHIVED = DeliveryState.SPOOLED, DeliveryState.ARCHIVED
PURGED, LOST = DeliveryState.PURGED, DeliveryState.LOST


def holding(sha: str, state: DeliveryState, held: int = 0, sop_class: str = CT) -> Holding:
    """`held`: by nobody, by the archive, by both sites."""
    return Holding(sop_class, sha, state, held >= 1, held >= 2)


@pytest.mark.parametrize(
    ("holdings", "strength", "expected"),
    [
        ([], "archive", FailureReason.NO_SUCH_INSTANCE),
        ([holding("a", ARCHIVED, 1)], "archive", Outcome.COMMITTED),
        ([holding("a", ARCHIVED, 1)], "dr", Outcome.WAITING),
        ([holding("a", ARCHIVED, 2)], "dr", Outcome.COMMITTED),
        ([holding("a", PURGED, 1)], "archive", Outcome.COMMITTED),
        ([holding("a", PURGED, 1)], "dr", Outcome.WAITING),
        ([holding("a", PURGED, 0)], "archive", FailureReason.PROCESSING_FAILURE),
        ([holding("a", SPOOLED)], "archive", Outcome.WAITING),
        ([holding("a", LOST)], "archive", FailureReason.PROCESSING_FAILURE),
        ([holding("a", DeliveryState.REFUSED)], "archive", FailureReason.PROCESSING_FAILURE),
        ([holding("a", DeliveryState.QUARANTINED)], "archive", FailureReason.PROCESSING_FAILURE),
        # Archived once, and asked for again: the archive may not have it any more.
        ([holding("a", SPOOLED, 1)], "archive", Outcome.WAITING),
        ([holding("a", DeliveryState.PUBLISHED, 2)], "dr", Outcome.WAITING),
        ([holding("a", DeliveryState.REFUSED, 1)], "archive", FailureReason.PROCESSING_FAILURE),
        ([holding("a", LOST, 1)], "archive", FailureReason.PROCESSING_FAILURE),
        ([holding("a", PURGED, 1), holding("a", SPOOLED, 1)], "archive", Outcome.WAITING),
        ([holding("a", ARCHIVED, 1), holding("a", SPOOLED)], "archive", Outcome.COMMITTED),
        # The same bytes twice: one of them held is enough.
        ([holding("a", LOST), holding("a", ARCHIVED, 1)], "archive", Outcome.COMMITTED),
        # Two contents: the peer has one of them, so both have to be held.
        ([holding("a", ARCHIVED, 1), holding("b", SPOOLED)], "archive", Outcome.WAITING),
        ([holding("a", ARCHIVED, 1), holding("b", ARCHIVED, 1)], "archive", Outcome.COMMITTED),
        (
            [holding("a", ARCHIVED, 1), holding("b", LOST)],
            "archive",
            FailureReason.PROCESSING_FAILURE,
        ),
        (
            [holding("a", ARCHIVED, 1, sop_class=MR)],
            "archive",
            FailureReason.CLASS_INSTANCE_CONFLICT,
        ),
    ],
)
def test_the_verdict_on_one_instance(
    holdings: Sequence[Holding], strength: Strength, expected: Outcome | FailureReason
) -> None:
    assert judge(Reference(CT, "1.2.3"), holdings, strength) is expected


def test_what_is_no_storage_class_is_not_supported() -> None:
    held = [holding("a", ARCHIVED, 2, sop_class="1.2.840.10008.1.1")]
    verdict = judge(Reference("1.2.840.10008.1.1", "1.2.3"), held, "archive")
    assert verdict is FailureReason.CLASS_NOT_SUPPORTED
