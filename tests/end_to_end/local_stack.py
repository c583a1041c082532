"""A local stack of the tests' own, driven by the command line as a user drives it.

Invariant: everything goes through `python -m operations`; only processes that this stack's own
status names are ever killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect

from infra.settings import Settings, load
from operations.stack import StackOptions, process_list

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND_TIMEOUT_S = 600.0
SEND_PART = 100
# What is under way gets this long to arrive: a machine that does other things as well takes long.
ARRIVAL_TIMEOUT_S = 400


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    exit_code: int
    json: Any
    stderr: str


@dataclass(frozen=True)
class LocalStack:
    """A stack under `state`, on ports of its own."""

    state: Path
    port_offset: int

    def run(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
        """Runs `hilum ARGUMENTS --json` and parses the one document it prints."""
        ended = subprocess.run(
            [sys.executable, "-m", "operations", *arguments, "--json"],
            env=self.environment(),
            cwd=self.state.parent,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        document = json.loads(ended.stdout) if ended.stdout.strip() else None
        return Answer(ended.returncode, document, ended.stderr)

    def environment(self) -> dict[str, str]:
        """The environment in which the command line means this stack."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HILUM_STATE": str(self.state),
            "HILUM_PORT_OFFSET": str(self.port_offset),
        }

    def must(self, *arguments: str) -> Any:
        """Like `run`, for commands whose answer must be good."""
        answer = self.run(*arguments)
        assert answer.exit_code == 0, f"{arguments}: {answer.json} {answer.stderr[-4000:]}"
        return answer.json

    def verify(self, *arguments: str) -> Any:
        """The verdict of `verify` once all that was under way has arrived."""
        return self.must("verify", "--wait", str(ARRIVAL_TIMEOUT_S), *arguments)

    def settings(self) -> Settings:
        """What the stack's processes were started with."""
        return load(self.state / "settings.toml")

    def processes(self) -> dict[str, dict[str, Any]]:
        """The stack's processes by name."""
        return {p["name"]: p for p in self.run("status").json["processes"]}

    def clickhouse(self, site: str = "primary") -> Any:
        """A client of one site's ClickHouse, as a user would make it."""
        settings = getattr(self.settings(), site).clickhouse
        return clickhouse_connect.get_client(
            host=settings.host, port=settings.port, database=settings.database
        )

    def kill(self, name: str) -> None:
        """kill -9 of one process, by the id that status names."""
        pid = self._pids()[name]
        if pid:
            os.kill(pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        """kill -9 of the supervisor and of every process that it started."""
        pids = self._pids()
        supervisor = int((self.state / "run" / "supervisord.pid").read_text())
        for pid in (supervisor, *pids.values()):
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)

    def _pids(self) -> dict[str, int | None]:
        options = StackOptions(self.state, self.port_offset)
        return {process.name: process.pid for process in process_list(options)}

    def send_patiently(self, folder: Path, gateway: str) -> Any:
        """Sends a folder in parts, each again until all of it is acknowledged, as a modality does.

        `acknowledged` counts each file once, by the sender's own history.
        """
        acknowledged = 0
        for part in _parts(sorted(folder.iterdir()), SEND_PART):
            until = time.monotonic() + COMMAND_TIMEOUT_S
            while True:
                report = self.run("send", *map(str, part), "--to", gateway).json
                if report and report.get("acknowledged") == len(part):
                    acknowledged += len(part)
                    break
                assert time.monotonic() < until, report
                time.sleep(0.5)
        return {"acknowledged": acknowledged}


def _parts(paths: list[Path], size: int) -> list[list[Path]]:
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def await_true(what: str, check: Callable[[], bool]) -> None:
    """Polls until `check` is true. Fails naming `what` when it is not in time."""
    until = time.monotonic() + ARRIVAL_TIMEOUT_S
    while not check():
        assert time.monotonic() < until, f"not in {ARRIVAL_TIMEOUT_S} s: {what}"
        time.sleep(0.2)


def await_equal(ask: Callable[[], Any], expected: object) -> None:
    """Polls until `ask` answers what is expected.

    For what `verify` does not wait for: it counts contents, and rows of a repeated delivery, of
    quarantine, of states that another site tells of come to the index in their own time.
    """
    until = time.monotonic() + ARRIVAL_TIMEOUT_S
    while (found := ask()) != expected:
        assert time.monotonic() < until, (found, expected)
        time.sleep(0.2)


def assert_clean(verdict: Any) -> None:
    """The closing count of every end-to-end test."""
    kept = verdict["archived"] + verdict["quarantined"] + verdict["refused"]
    assert verdict["acknowledged_not_found"] == 0, verdict
    assert verdict["acknowledged"] == kept, verdict
    assert verdict["archived"] == verdict["indexed"] == verdict["replicated"], verdict
    assert verdict["refused"] == 0 and verdict["ok"], verdict
