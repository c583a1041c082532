"""The hostile peers as a measurement: each of the list once, two of them from end to end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from contracts.failures import FatalError
from load.hostile import beside, footprint, program
from load.hostile.catalogue import HOSTILE, chosen
from load.hostile.command import run_hostile
from load.hostile.options import HostileOptions
from load.progress import Progress
from load.report.model import Report, Verdict
from load.senders import Outcome, SendRun
from tests.polling import eventually

# What the design's list says of each, in a few of its words.
WORDS = {
    "H1": "A-ASSOCIATE length", "H2": "P-DATA length", "H3": "PDV length", "H4": "never end",
    "H5": "command fragment after data", "H6": "second A-ASSOCIATE-RQ", "H7": "A-ASSOCIATE-AC",
    "H8": "16,000 transfer syntax", "H9": "300 contexts", "H10": "AE titles",
    "H11": "maximum length", "H12": "user items", "H13": "asynchronous window",
    "H14": "user identity", "H15": "without UID", "H16": "command field", "H17": "group length",
    "H18": "another syntax", "H19": "C-CANCEL", "H20": "N-EVENT-REPORT", "H21": "half-close",
    "H22": "RST", "H23": "release collision", "H24": "data after release",
    "H25": "one byte a second", "H26": "silent TLS", "H27": "TLS then plain", "H28": "HTTP, SSH",
    "H29": "2,000 connects", "H30": "200 associations",
}  # fmt: skip


TOO_BUSY = {
    "pairs in which the sender did not send all the time",
    "the hostile peer never came to act",
}


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO()))


def run(directory: Path, *keys: str, pairs: int = 3) -> Report:
    """A run for which the machine had the time; one of a machine too busy is repeated."""
    options = HostileOptions(keys, seconds=0.15, pairs=pairs, scratch=directory, ceiling_s=0.3)
    reports: list[Report] = []

    def is_measured() -> bool:
        with quiet() as progress:
            reports.append(run_hostile(options, progress))
        found = reports[-1].failures
        return not found or any(failure.what not in TOO_BUSY for failure in found)

    eventually(is_measured, "a run of a machine with time for it", 200)
    return reports[-1]


def test_every_peer_of_the_list_is_there_once_under_its_title() -> None:
    assert list(HOSTILE) == [f"H{number}" for number in range(1, 31)]
    assert all(WORDS[key] in peer.title for key, peer in HOSTILE.items())
    assert all(peer.key == key and peer.acts for key, peer in HOSTILE.items())


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(FatalError, match="H30"):
        HostileOptions(("HH30",))
    with pytest.raises(FatalError, match="hilum"):
        HostileOptions(receivers=("hilun",))
    assert [peer.key for peer in chosen(("h30", "H2"))] == ["H2", "H30"]


def test_a_good_sender_is_measured_beside_two_peers(tmp_path: Path) -> None:
    report = run(tmp_path, "H3", "H22")
    assert report.ok and not report.failures, report.failures
    *figures, room = report.figures
    assert [figure.name for figure in figures] == ["hostile/hilum/H3", "hostile/hilum/H22"]
    assert room.name == "sender.headroom" and room.value is not None and room.value > 0
    assert [table.title for table in report.sections[0].tables][1:] == ["The sender itself"]
    for figure in figures:
        assert figure.verdict is Verdict.SHOWN and figure.value is not None
        assert 3 >= len(figure.ours) == len(figure.theirs) > 0
    table = report.sections[0].tables[0]
    for row in table.rows:
        told = dict(zip(table.columns, row, strict=True))
        assert str(told["answers"]).startswith("0000: ") and "," not in str(told["answers"])
        assert isinstance(told["turns"], int) and told["turns"] > 0
    assert not list(tmp_path.iterdir())


def test_a_receiver_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    options = HostileOptions(("H1",), receivers=("storescp",), scratch=tmp_path, ceiling_s=0.1)
    with quiet() as progress:
        report = run_hostile(options, progress)
    figure, room = report.figures
    assert figure.verdict is room.verdict is Verdict.NOT_MEASURED
    assert "not installed" in figure.note and room.name == "sender.headroom/storescp"
    assert report.versions["storescp"] == "not installed"


def test_a_receiver_that_does_not_start_is_told_and_not_tried_for_every_peer(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    options = HostileOptions(scratch=tmp_path / "file", ceiling_s=0.1)
    with quiet() as progress:
        report = run_hostile(options, progress)
    assert not report.ok
    assert {figure.verdict for figure in report.figures} == {Verdict.NOT_MEASURED}
    assert [failure.count for failure in report.failures] == [1, 1, len(HOSTILE) - 2]


def outcome(number: int, at: float, status: int | None = 0) -> Outcome:
    problem = "" if status is not None else "lost"
    answered = None if status is None else at + 0.001
    return Outcome(f"2.25.{number}", "ct-small", 100, None, at, answered, status, problem)


def test_any_other_answer_and_a_missing_one_are_failures() -> None:
    outcomes = (outcome(1, 0.0), outcome(2, 0.1, 0xA700), outcome(3, 0.2, 0xB007))
    lost = (*outcomes, outcome(4, 0.3, None))
    failures = beside.answers_changed("beside H1", SendRun(lost, 1.0, 0.1, 1, 1))
    assert {failure.examples for failure in failures} == {("2.25.2",), ("2.25.3",), ("2.25.4",)}
    assert not beside.answers_changed("beside H1", SendRun((outcome(1, 0.0),), 1.0, 0.1, 1, 1))
    assert beside.answers_changed("beside H1", SendRun((), 1.0, 0.1, 1, 1))


def test_a_pair_counts_only_while_the_sender_sends() -> None:
    outcomes = [outcome(number, 0.1 * number) for number in range(31)]
    samples = [
        beside.Sample(False, 0.5, 1.0),
        beside.Sample(True, 1.0, 1.5),
        beside.Sample(True, 2.0, 2.5),
        beside.Sample(False, 3.0, 3.5),
    ]
    assert beside.complete_pairs(samples, outcomes) == ((10.0, 10.0),)
    assert beside.complete_pairs(samples, []) == ()
    still = [outcome(0, 0.4), outcome(1, 0.95), outcome(2, 1.6)]
    assert beside.complete_pairs(samples[:2], still) == ((2.0, 1.0),)


def test_what_is_left_behind_is_told_by_kind() -> None:
    before = footprint.Footprint(1, 10, 20, 50_000_000, 5)
    after = footprint.Footprint(1, 11, 20, 150_000_000, 7)
    left = {one.what.split()[0]: one.count for one in footprint.left_behind("x", before, after)}
    assert left == {"threads": 1, "files": 2}
    assert [one.what for one in footprint.memory_kept("x", before, after)] == [
        "100 MB of memory kept"
    ]
    assert not footprint.left_behind("x", before, before)
    assert not footprint.memory_kept("x", before, before)


def test_the_hostile_process_ends_with_its_block() -> None:
    with program.hostile_process(1, "NOBODY", 1) as process:

        def has_acted() -> bool:
            process.start("H29")
            return process.stop().turns > 0

        eventually(has_acted, "a turn before it was stopped")
    assert not process.is_alive
