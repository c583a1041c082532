"""The engines' cache: built once, complete or not there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from contracts.failures import FatalError
from infra.engines.cache import engine_directory, obtain, run_tool


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_two_at_once_build_one() -> None:
    builds: list[Path] = []

    def build(directory: Path) -> None:
        builds.append(directory)
        assert not engine_directory("tool-1").exists()
        (directory / "half").write_text("")
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            assert not engine_directory("tool-1").exists(), "seen before it is complete"
        (directory / "tool").write_text("whole")

    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(obtain("tool-1", build))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert [(path / "tool").read_text() for path in found] == ["whole"] * 4


def test_a_failed_build_leaves_nothing_and_the_next_one_works() -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("")
        raise FatalError("no network")

    with pytest.raises(FatalError):
        obtain("tool-1", fail)
    assert not engine_directory("tool-1").exists()
    assert list(engine_directory("tool-1").parent.glob(".tool-1.build-*")) == []
    assert obtain("tool-1", lambda directory: None).is_dir()


def test_what_a_killed_build_left_is_cleared() -> None:
    stale = engine_directory("tool-1").parent / ".tool-1.build-dead"
    stale.mkdir(parents=True)
    obtain("tool-1", lambda directory: None)
    assert not stale.exists()


def test_a_failing_tool_shows_its_last_words(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "echo one; echo the reason >&2; exit 3"
    with pytest.raises(FatalError, match="the reason"):
        run_tool(("sh", "-c", script), {}, tmp_path, lines.append)
    assert lines == ["one", "the reason"]
