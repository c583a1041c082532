"""Makes `docs/reliability.md` from the fault matrix and from what its tests were recorded to reach.

    python -m tests.faults.reliability

Invariant: nothing is claimed that no test shows: a row without a test says so, and a test that was
never recorded has no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.matrix import MATRIX
from tests.faults.matrix_row import Row
from tests.faults.recording import read_recorded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
NO_TEST = "**no test yet**"
HEAD = """\
# Reliability: which faults are injected, and what held

<!-- Made by `python -m tests.faults.reliability`; do not edit. -->

Every row is a fault that was done to real processes and real engines, the test that does it, and
what the last recorded run reached. Short forms run in `./hilum test`; those marked *long* run with

```text
./hilum test --soak --minutes 5
```

one after the other, bounded by the minutes (for each of them) and by their counts, on this
machine's loopback. What a run did is shown while it runs. It leaves a page with the faults, what
waited and what was acknowledged over time in `.hilum/reports/faults/`, and a failure prints the
command with the seed that repeats it. `HILUM_FAULT_SEED` chooses another seed for the short forms.

The **laboratory** (`tests/faults/`) runs a gateway, its forwarder, the archive, the index and the
second site behind proxies that cut, delay, stall and corrupt a line, answer errors in an engine's
place or lose its answers; Kafka is its own and is killed, stopped and emptied. Modalities
(pynetdicom) write a history of what they sent and what they were told. A checker that imports
nothing of Hilum compares that history with every byte and row at both sites
([decision 13](adr/0013-fault-laboratory.md)):

| | holds when |
|---|---|
| I1 | every image answered `0x0000` is in the archive, byte for byte |
| I2 | each content has exactly one current row in the index |
| I3 | an association's images of a study are published in the order of their acceptance |
| I4 | the second site has the same objects, bytes equal, and the same rows |
| I5 | nothing is there that was not sent |
| I6 | memory, threads and descriptors are bounded |
| I7 | no patient data in logs, metrics or headers |
| I9 | every peer is answered within its deadline |
| I10 | after the fault the backlog drains and every gauge is back |

To judge a history again: `python -m tests.faults.checker HISTORY SITES.json`. To record a run's
figures here: `python -m pytest -p tests.faults.recording tests/faults`, then
`python -m tests.faults.reliability`.

"""


def page() -> str:
    """The whole page."""
    recorded = read_recorded()
    lines = [line for row in MATRIX for line in _lines(row, recorded)]
    tested = sum(bool(row.tests or row.soak) for row in MATRIX)
    counts = f"{tested} of {len(MATRIX)} rows have a test.\n\n"
    titles = "| # | fault | holds | test | seed | reached | date |\n|---|---|---|---|---|---|---|\n"
    return HEAD + counts + titles + "\n".join(lines) + "\n"


def _lines(row: Row, recorded: dict[str, dict[str, Any]]) -> Iterator[str]:
    begin = (row.number, row.fault, row.holds)
    if not row.tests and not row.soak:
        yield _line((*begin, NO_TEST, "", "", ""))
    for number, test in enumerate(row.tests + row.soak):
        is_long = test in row.soak and test not in row.tests
        title = _linked(test) + (", *long*" if is_long else "")
        yield _line((*(begin if number == 0 else ("", "", "")), title, *_reached(test, recorded)))


def _reached(test: str, recorded: dict[str, dict[str, Any]]) -> tuple[str, str, str]:
    found = recorded.get(test)
    if found is None:
        return "", "not recorded", ""
    cases = f"passed, {found['cases']} cases" if "cases" in found else "passed"
    return str(found.get("seed", "")), str(found.get("figure", cases)), str(found["date"])


def _linked(test: str) -> str:
    path, *names = test.split("::")
    return f"[{names[-1].removeprefix('test_').replace('_', ' ')}](../{path})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
