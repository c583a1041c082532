"""The launcher's own decisions; the end-to-end tests run it whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the launcher beside empty lock files and a package that tells what it got."""
    directory = tmp_path / "a checkout"
    (directory / "operations").mkdir(parents=True)
    shutil.copy(ROOT / "hilum", directory / "hilum")
    (directory / "requirements.txt").write_text("")
    for command in ("load", "test"):
        (directory / f"requirements-{command}.txt").write_text("# more\n")
    (directory / "operations" / "__init__.py").write_text("")
    (directory / "operations" / "__main__.py").write_text(
        "import os, sys\nprint(sys.prefix, os.getcwd(), *sys.argv[1:], sep='|')\nsys.exit(7)\n"
    )
    return directory


def launch(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(checkout.parent / "home"),
        "XDG_CACHE_HOME": str(checkout.parent / "cache"),
        "PIP_NO_INDEX": "1",
    }
    where = checkout.parent / "elsewhere"
    (where / "operations").mkdir(parents=True, exist_ok=True)  # must not be taken for ours
    return subprocess.run(
        [sys.executable, str(checkout / "hilum"), *arguments],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_environment_is_made_once_linked_and_used(checkout: Path) -> None:
    first = launch(checkout, "status", "--json", "a b")
    assert first.returncode == 7, first.stderr
    prefix, directory, *arguments = first.stdout.strip().split("|")
    assert arguments == ["status", "--json", "a b"]
    assert Path(directory).name == "elsewhere"
    assert "installing" in first.stderr
    link = checkout / ".venv"
    assert link.is_symlink()
    assert link.readlink() == Path(prefix)
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    assert Path(prefix).parent == checkout.parent / "cache" / "hilum"
    assert Path(prefix).name.startswith("venv-") and Path(prefix).name.endswith(version)
    again = launch(checkout, "status")
    assert (again.returncode, again.stderr) == (7, "")
    # A changed lock is another environment; one that was not finished is made anew.
    (checkout / "requirements.txt").write_text("# changed\n")
    changed = launch(checkout, "status").stdout.split("|")[0]
    assert changed != prefix
    (Path(changed) / ".hilum-complete").unlink()
    (Path(changed) / "stale").write_text("")
    assert launch(checkout, "test").stdout.split("|")[0] == changed
    assert not (Path(changed) / "stale").exists()
    assert len(list(Path(changed).glob(".hilum-test-*"))) == 1
    assert launch(checkout, "load", "--help").stdout.endswith("|load|--help\n")
    assert len(list(Path(changed).glob(".hilum-load-*"))) == 1
    assert launch(checkout, "test").stderr == ""
    # Another checkout's versions replaced those of `test`, so that `test` installs its own again.
    lock = checkout / "requirements-load.txt"
    lock.write_text("# other versions\n")
    assert "installing" in launch(checkout, "load").stderr
    lock.write_text("# more\n")
    assert "installing" in launch(checkout, "test").stderr


def test_a_package_whose_hash_is_wrong_is_named_and_nothing_runs(checkout: Path) -> None:
    lock = "no-such-package==1 --hash=sha256:" + "0" * 64 + "\n"
    (checkout / "requirements.txt").write_text(lock)
    failed = launch(checkout, "status")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no-such-package" in failed.stderr
    assert "start again" in failed.stderr


def test_no_command_changes_a_pin_of_the_environment_it_adds_to() -> None:
    """`hilum load` and `hilum test` add packages to the runtime environment."""

    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.split(";")[0].strip(" \\") for line in lines if "==" in line.split("#")[0]}

    assert (
        pins("requirements.txt") <= pins("requirements-load.txt") <= pins("requirements-test.txt")
    )
