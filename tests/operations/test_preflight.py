"""What `up` says of a machine that lacks something."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra.settings import LocalSettings
from operations import preflight as module
from operations.preflight import preflight

ALL = LocalSettings()


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without any tool, and a cache without any engine; gives the tools' directory."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tools


def put_tool(tools: Path, name: str, says: str) -> None:
    script = tools / name
    script.write_text(f"#!/bin/sh\necho '{says}'\n")
    script.chmod(0o755)


def test_everything_missing_is_named_at_once_with_its_line(
    empty_machine: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = preflight(ALL, tmp_path / "state", {"kafka": (port,)})
    text = "\n".join(str(missing) for missing in found.missing)
    assert "Java 17 or newer is missing\n      apt-get install -y openjdk-17-jre" in text
    assert "Maven is missing\n      apt-get install -y maven" in text
    assert "Go 1.24 or newer is missing\n      apt-get install -y golang-go" in text
    assert f"port {port} of kafka is taken by" in text
    assert len(found.missing) == 4


def test_too_old_tools_are_named_with_their_version(empty_machine: Path, tmp_path: Path) -> None:
    put_tool(empty_machine, "java", 'openjdk version "11.0.2" 2019-01-15')
    put_tool(empty_machine, "mvn", "Apache Maven 3.8.7")
    put_tool(empty_machine, "go", "go version go1.19.8 linux/amd64")
    found = preflight(ALL, tmp_path, {})
    assert [missing.what for missing in found.missing] == [
        "Java 17 or newer is missing, this is 11.0",
        "Go 1.24 or newer is missing, this is 1.19",
    ]


def test_a_fit_machine_hears_the_minutes_of_a_first_start(
    empty_machine: Path, tmp_path: Path
) -> None:
    put_tool(empty_machine, "java", 'openjdk version "21.0.1" 2023-10-17')
    put_tool(empty_machine, "mvn", "Apache Maven 3.9.9")
    put_tool(empty_machine, "go", "go version go1.26 linux/amd64")
    found = preflight(ALL, tmp_path, {})
    assert found.missing == ()
    assert found.minutes >= 5


def test_engines_elsewhere_need_no_tools(empty_machine: Path, tmp_path: Path) -> None:
    remote = LocalSettings(kafka=False, object_stores=False, clickhouses=False)
    found = preflight(remote, tmp_path, {})
    assert found.missing == ()
    assert found.minutes == 0


def test_a_full_disk_is_named_with_what_is_needed(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATE_BYTES_MIN", 1 << 60)
    remote = LocalSettings(kafka=False, object_stores=False, clickhouses=False)
    (missing,) = preflight(remote, tmp_path / "not" / "yet", {}).missing
    assert "GiB free" in missing.what
    assert "--state" in missing.next_step
