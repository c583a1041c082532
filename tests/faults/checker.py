"""The judge of a run: the history of the clients against what both sites really hold.

    I1  every C-STORE that was answered 0x0000 is in the archive, byte for byte
    I2  each content has exactly one current row in the index
    I4  the second site has the same objects, bytes equal, and the same rows
    I5  nothing is there that was not sent
    I10 after the last fault every gauge came back to what it showed at rest

Invariant: it believes the clients' history and the bytes, and nobody's word about them. It must
not import the product; `test_checker` holds it to that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.archive_reading import Content, Holdings, Row, Site, holdings, rows
from tests.faults.history import OK, SENT, read_history

EXAMPLES_MAX = 10
INVARIANTS = ("I1", "I2", "I4", "I5", "I10")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant: what was looked at, and what breaks it."""

    invariant: str
    checked: int
    violations: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.violations


@dataclass(frozen=True, slots=True)
class _Facts:
    acknowledged: set[Content]
    sent: set[Content]
    entries: list[dict[str, Any]]
    primary: Holdings
    dr: Holdings
    primary_rows: list[Row]
    dr_rows: list[Row]


def check(history: Path, primary: Site, dr: Site) -> list[Verdict]:
    """A verdict for each invariant, in their order. Raises where a store cannot be read at all."""
    entries = list(read_history(history))
    stores = [entry for entry in entries if entry["kind"] == "store"]
    facts = _Facts(
        acknowledged={_content(entry) for entry in stores if entry["outcome"] == OK},
        sent={_content(entry) for entry in stores if entry["outcome"] == SENT},
        entries=entries,
        primary=holdings(primary),
        dr=holdings(dr),
        primary_rows=rows(primary),
        dr_rows=rows(dr),
    )
    judges: tuple[Callable[[_Facts], Verdict], ...] = (
        _every_acknowledged_one_is_kept,
        _one_row_for_each_content,
        _both_sites_are_alike,
        _nothing_appeared,
        _everything_came_to_rest,
    )
    return [judge(facts) for judge in judges]


def broken(verdicts: Iterable[Verdict]) -> Mapping[str, tuple[str, ...]]:
    """The violations by the name of what they break."""
    return {one.invariant: one.violations for one in verdicts if not one.holds}


def _every_acknowledged_one_is_kept(facts: _Facts) -> Verdict:
    kept = facts.primary.kept | facts.primary.quarantined
    lost = [f"lost: {_named(content)}" for content in sorted(facts.acknowledged - kept)]
    return Verdict("I1", len(facts.acknowledged), tuple(lost + facts.primary.faults))


def _one_row_for_each_content(facts: _Facts) -> Verdict:
    counts = Counter(row.content for row in facts.primary_rows)
    double = [f"{n} rows: {_named(content)}" for content, n in sorted(counts.items()) if n > 1]
    missing = [f"no row: {_named(c)}" for c in sorted(facts.primary.kept - counts.keys())]
    return Verdict("I2", len(facts.primary.kept), tuple(double + missing))


def _both_sites_are_alike(facts: _Facts) -> Verdict:
    here, there = facts.primary.hashes, facts.dr.hashes
    differ = [
        f"{key}: {here.get(key, 'nothing')[:12]} here, {there.get(key, 'nothing')[:12]} there"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    indexed = Counter(row.content for row in facts.dr_rows)
    wrong_rows = [
        f"{indexed[content]} rows at the second site: {_named(content)}"
        for content in sorted(facts.primary.kept | indexed.keys())
        if indexed[content] != (content in facts.primary.kept)
    ]
    return Verdict("I4", len(here.keys() | there.keys()), tuple(differ + wrong_rows))


def _nothing_appeared(facts: _Facts) -> Verdict:
    kept = facts.primary.kept | facts.primary.quarantined
    strange = [f"never sent: {_named(content)}" for content in sorted(kept - facts.sent)]
    orphans = [
        f"row without its object: {_named(row.content)}"
        for row in sorted(facts.primary_rows)
        if row.object_key not in facts.primary.hashes or row.content not in kept
    ]
    return Verdict("I5", len(kept) + len(facts.primary_rows), tuple(strange + orphans))


def _everything_came_to_rest(facts: _Facts) -> Verdict:
    """Each gauge's last value against its first: a run begins at rest."""
    healed_s = max((e["at_s"] for e in facts.entries if e["kind"] == "fault"), default=0.0)
    first: dict[str, float] = {}
    last: dict[str, tuple[float, float]] = {}
    for entry in facts.entries:
        if entry["kind"] == "gauge":
            first.setdefault(entry["name"], entry["value"])
            last[entry["name"]] = (entry["at_s"], entry["value"])
    open_faults = Counter(
        f"{e['name']} of {e['target']}"
        for e in facts.entries
        if e["kind"] == "fault" and e["is_begin"]
    )
    open_faults.subtract(
        f"{e['name']} of {e['target']}"
        for e in facts.entries
        if e["kind"] == "fault" and not e["is_begin"]
    )
    wrong = [f"never ended: {name}" for name, count in open_faults.items() if count > 0]
    for name, (at_s, value) in sorted(last.items()):
        if at_s < healed_s:
            wrong.append(f"{name}: nobody looked after the last fault")
        elif value > first[name]:
            wrong.append(f"{name}: {first[name]:g} at the start, {value:g} at the end")
    if not last:
        wrong.append("no gauge was looked at")
    return Verdict("I10", len(last), tuple(wrong))


def _content(entry: dict[str, Any]) -> Content:
    return Content(entry["sop_instance_uid"], entry["sha256"])


def _named(content: Content) -> str:
    return f"{content.sop_instance_uid} {content.sha256[:12]}"


def main() -> int:
    """`python -m tests.faults.checker HISTORY SITES.json`; the sites as `Site` has them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker")
    parser.add_argument("history", type=Path)
    parser.add_argument("sites", type=Path, help='{"primary": {…}, "dr": {…}}')
    options = parser.parse_args()
    sites = {name: Site(**value) for name, value in json.loads(options.sites.read_text()).items()}
    verdicts = check(options.history, sites["primary"], sites["dr"])
    print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    return 1 if broken(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
