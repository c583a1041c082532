"""Progress tells stage, rate and what is left, in lines where there is no terminal."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from load import progress as module
from load.progress import Progress, duration_text

DEADLINE_S = 120.0


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def wait_for(stream: io.StringIO, text: str) -> str:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        for line in lines_of(stream):
            if text in line:
                return line
        time.sleep(0.01)
    raise AssertionError(f"{text!r} never came: {stream.getvalue()}")


def test_a_stage_is_told_at_its_start_while_it_runs_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.05)
    stream = io.StringIO()
    with Progress(Console(file=stream, width=200)) as progress:
        progress.stage("sending", 40, "CT")
        progress.advance(30)
        line = wait_for(stream, "30 of 40 CT")
        assert "/s" in line and line.endswith("left")
        progress.note("a [note] that stays")
        progress.stage("waiting")
        # Nobody knows how many: only the time is told.
        assert wait_for(stream, "waiting: ").endswith(" s")
    lines = lines_of(stream)
    assert lines[0] == "sending"
    assert "  a [note] that stays" in lines
    assert any(line.startswith("sending: 30 of 40 CT in ") for line in lines)


def test_threads_may_advance_together() -> None:
    stream = io.StringIO()
    with Progress(Console(file=stream, width=200)) as progress:
        progress.stage("sending", 4000, "CT")

        def advance() -> None:
            for _ in range(1000):
                progress.advance()

        threads = [threading.Thread(target=advance) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "4,000 of 4,000 CT" in lines_of(stream)[-1]


def test_a_terminal_gets_a_bar_and_keeps_its_lines() -> None:
    stream = io.StringIO()
    with Progress(Console(file=stream, width=120, force_terminal=True)) as progress:
        progress.stage("sending", 10, "CT")
        progress.advance(10)
        progress.note("kept")
    assert "kept" in stream.getvalue()
    assert "10 of 10 CT" in stream.getvalue()


def test_an_error_inside_ends_the_bar_and_passes_on() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        Progress(Console(file=stream, force_terminal=True)) as progress,
    ):
        progress.stage("sending", 10)
        raise KeyboardInterrupt
    assert not any(one.name == "progress" for one in threading.enumerate())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (89.6, "90 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
