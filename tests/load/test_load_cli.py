"""The load commands as a person starts them: help, wrong use, one JSON document, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from load.cli import app
from load.report.write import read_report

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 200
PROGRAM = (sys.executable, "-P", "-m", "load")
PLAN = ("plan", "--sites", "8", "--studies-per-day", "4000")
# RFC 5737: an address that belongs to nobody; a refused run never connects to it.
ELSEWHERE = "192.0.2.1"


def load(state: Path, *arguments: str) -> Result:
    """In this process: a program of its own would import all its rooms each time."""
    return CliRunner().invoke(app, arguments, env=environment(state), prog_name="hilum load")


def environment(state: Path) -> dict[str, str]:
    width = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    return {**os.environ, "PYTHONPATH": str(ROOT), "HILUM_STATE": str(state), **width}


def test_help_lists_every_command(tmp_path: Path) -> None:
    ended = load(tmp_path, "--help")
    assert ended.exit_code == 0
    commands = (
        "run",
        "compare",
        "hostile",
        "growth",
        "plan",
        "history",
        "studies",
        "peers",
        "profile",
    )
    assert [one for one in commands if f" {one} " not in ended.stdout] == []


@pytest.mark.parametrize(
    "arguments",
    [("--colour",), ("run", "--hours", "x"), ("compare", "--require", "all"), ("nonsense",)],
)
def test_wrong_use_is_exit_code_2_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ended = load(tmp_path, *arguments)
    assert ended.exit_code == 2, ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "smokes"), "smoke"),
        (("run", "smoke", "--target", "here"), "AET@host:port"),
        (("run", "smoke", "--target", f"PACS@{ELSEWHERE}:104"), f"--confirm {ELSEWHERE}"),
        (
            ("run", "smoke", "--target", f"PACS@{ELSEWHERE}:104", "--confirm", "localhost"),
            f"--confirm {ELSEWHERE}",
        ),
        (("compare", "--only", "ingesst"), "ingest"),
        (("hostile", "H31"), "H31"),
        (("growth", "--axis", "row"), "rows"),
        (("plan", "--sites", "0", "--studies-per-day", "5"), "sites is 0"),
        (("history", "nowhere"), "nowhere"),
        (("studies", "tests/load/no-folder", "--kind", "cts"), "ct"),
    ],
)
def test_what_cannot_be_done_is_named_with_exit_code_78(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = load(tmp_path, *arguments, "--json")
    assert ended.exit_code == 78, ended.stderr
    document = json.loads(ended.stdout)
    assert document["ok"] is False
    assert said in document["error"]
    assert not list(tmp_path.rglob("report.*"))


def test_json_prints_exactly_one_document_and_leaves_both_files(tmp_path: Path) -> None:
    """As the launcher starts it, a program of its own."""
    ended = subprocess.run(
        [*PROGRAM, *PLAN, "--json", "--report", str(tmp_path / "mine")],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["command"] == "plan"
    assert document["report"] == str(tmp_path / "mine" / "report.html")
    report = read_report(tmp_path / "mine")
    assert [figure.name for figure in report.figures] == [
        figure["name"] for figure in document["figures"]
    ]
    assert "planning" in ended.stderr


def test_reports_lie_below_the_state_directory_and_history_finds_them(tmp_path: Path) -> None:
    for number in range(2):
        ended = load(tmp_path, *PLAN, "--report", str(tmp_path / "reports" / f"run-{number}"))
        assert "report: " in ended.stdout
    ended = load(tmp_path, "history")
    assert ended.exit_code == 0, ended.stderr
    assert "1.00×" in ended.stdout
    assert [path.name[-8:] for path in (tmp_path / "reports").glob("*-history")] == ["-history"]


def test_a_place_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = load(tmp_path, *PLAN, "--report", str(tmp_path / "file" / "below"), "--json")
    assert ended.exit_code == 78
    assert "--report" in json.loads(ended.stdout)["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly_and_says_that_there_is_no_report(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The peer takes the connection and never answers: the run is in the midst of it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        port = silent.getsockname()[1]
        command = ["run", "smoke", "--target", f"SILENT@127.0.0.1:{port}"]
        with subprocess.Popen(
            [*PROGRAM, *command],
            cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            connection, _ = silent.accept()
            with connection:
                process.send_signal(number)
                _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, told
    assert "no report was written" in told
    assert "Traceback" not in told
    assert list((tmp_path / "reports").iterdir()) == []
