"""The fuzzer finds each of the planted defects, within the corpus and a bounded number of cases."""

from __future__ import annotations

import pytest

from tests.fuzz import scan_agreement, scan_seeds
from tests.fuzz.campaign import Fault, Outcome, attempt, first_fault
from tests.fuzz.planted import DEFECTS, Defect, planted
from tests.fuzz.targets import SCAN

SEED = 20260301
MUTATIONS = 200
# pydicom warns of each UID that is none.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_there_are_ten_defects_or_more_in_both_targets() -> None:
    assert len(DEFECTS) >= 10
    assert {defect.target.name for defect in DEFECTS} == {"pdu", "scan"}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name.replace(" ", "-"))
def test_planted_defect_is_found(defect: Defect) -> None:
    whole = defect.function.__code__
    with planted(defect):
        fault, cases = first_fault(defect.target, 0, SEED)
        if fault is None and defect.target is SCAN:
            fault = _disagreement()
        if fault is None:
            fault, cases = first_fault(defect.target, MUTATIONS, SEED)
    assert defect.function.__code__ is whole
    assert fault is not None, f"not found in {cases} cases, seed {SEED}"
    print(f"{defect.name}: {fault.place}, {fault.text}, after {cases} cases")


def _disagreement() -> Fault | None:
    outcome = Outcome()
    for case in scan_seeds.valid():
        if not attempt(scan_agreement.check, case, outcome):
            return next(iter(outcome.faults.values()))
    return None


def test_a_line_that_moved_is_an_error() -> None:
    gone = Defect("gone", SCAN, SCAN.check, "no such line", "")
    with pytest.raises(LookupError, match="where it went"), planted(gone):
        pass
