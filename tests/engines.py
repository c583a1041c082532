"""The real engines for tests: started once per session, or shared through HILUM_TEST_ENGINES.

Invariant: a set that this process started is ended with it, also when it is killed; a shared set
is only used. Tests that share one keep apart by `isolated_settings`.

    python -m tests.engines serve --file F [--port-offset N]     # until killed; F says it is ready
    HILUM_TEST_ENGINES=F python -m pytest …
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.failures import RetryableError
from infra.broker_errors import translated
from infra.cluster_view import admin_client
from infra.engines.local import engine_programs
from infra.engines.program import Program
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate
from infra.telemetry import Readiness
from operations.ports import free_port_offset
from operations.proof_keys import make_key

READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
ENGINES_VARIABLE = "HILUM_TEST_ENGINES"
_PR_SET_PDEATHSIG = 1


@dataclass
class RunningEngines:
    """Processes of one set; `settings` point at them."""

    settings: Settings
    tree: dict[str, Any]
    directory: Path
    programs: dict[str, Program] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one program; `await_ready` says when it answers."""
        program = self.programs[name]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent(),
                process_group=0,
            )

    def await_ready(self) -> None:
        """Wait for all that were started; raises with the log's end of one that is not ready."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        for name, process in self.processes.items():
            while not (state := self._answer_of(name)).is_ready:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name}: {state.reason}\n{self._log_end(name)}")
                time.sleep(0.05)

    def kill(self, name: str) -> None:
        """kill -9 of one program; returns once it is gone."""
        self.processes[name].kill()
        self.processes[name].wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """End all, kindly first."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answer_of(self, name: str) -> Readiness:
        """Its own answer, not that of a stranger who took its port meanwhile."""
        probe = self.programs[name].probe
        state = probe.ask()
        if state.is_ready and not _listens(self.processes[name].pid, probe.port):
            return Readiness(False, f"another process answers at port {probe.port}")
        return state

    def _log_end(self, name: str) -> str:
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-20:])


def start_engines(
    directory: Path,
    port_offset: int | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> RunningEngines:
    """Start Kafka, two MinIO and two ClickHouse under `directory`; on return all are ready.

    `only` chooses by process name. A port that somebody takes meanwhile is answered by another
    offset.
    """
    for attempt in range(3):
        offset = free_port_offset() if port_offset is None else port_offset
        tree = local_stack_tree(directory, offset)
        engines = RunningEngines(validate(tree, "tests"), tree, directory)
        engines.programs = {
            program.name: program
            for program in engine_programs(engines.settings, directory)
            if only(program.name)
        }
        try:
            for name in engines.programs:
                engines.start(name)
            engines.await_ready()
        except BaseException as error:
            engines.stop()
            if attempt == 2 or port_offset is not None or not isinstance(error, RuntimeError):
                raise
        else:
            return engines
    raise AssertionError("the last attempt returned or raised")


def isolated_settings(settings: Settings, directory: Path) -> Settings:
    """The same engines with topic prefix, buckets, databases and directories of its own."""
    token = uuid.uuid4().hex[:12]
    tree = json.loads(_to_json(settings))
    tree["kafka"]["topic_prefix"] = f"t{token}."
    for site in ("primary", "dr"):
        tree[site]["object_store"]["bucket"] = f"hilum-{token}"
        tree[site]["clickhouse"]["database"] = f"hilum_{token}"
    for name, gateway in tree["gateways"].items():
        gateway["spool"]["directory"] = str(directory / f"spool-{name}")
        gateway |= {"dicom_port": 0, "http_port": 0, "forwarder_http_port": 0}
    for consumer in tree["consumers"].values():
        consumer["http_port"] = 0
    tree["schema_registry"]["port"] = 0
    key_file = directory / "proof.key"
    if not key_file.exists():
        make_key(key_file)
    tree["proofs"]["key_file"] = str(key_file)
    tree["scratch_directory"] = str(directory / "scratch")
    return validate(tree, "tests")


@pytest.fixture(scope="session")
def engines() -> Iterator[Settings]:
    """Settings for running engines, shared by every test of the session: use names of your own."""
    shared = os.environ.get(ENGINES_VARIABLE)
    if shared:
        yield validate(json.loads(Path(shared).read_text())["settings"], shared)
        return
    directory = Path(tempfile.mkdtemp(prefix="hilum-engines-"))
    running = start_engines(directory)
    try:
        yield running.settings
    finally:
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def engine_settings(engines: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings for the running engines with names and directories of this test alone."""
    settings = isolated_settings(engines, tmp_path)
    yield settings
    delete_topics(settings)


def delete_topics(settings: Settings) -> None:
    """Removes a test's topics: some 150 partitions each, and a broker bears a few thousand.

    A broker that is too busy for it keeps them; the test is over either way.
    """
    with suppress(RetryableError), translated("deleting a test's topics"):
        admin = admin_client(settings.kafka)
        try:
            prefix = settings.kafka.topic_prefix
            found = [name for name in admin.list_topics() if prefix and name.startswith(prefix)]
            if found:
                admin.delete_topics(found)
        finally:
            admin.close()


def _to_json(settings: Settings) -> str:
    """JSON with the secrets in it: it stays in this process or in a file of mode 0600."""
    tree = settings.model_dump(mode="json")
    tree["primary"]["object_store"]["secret_key"] = (
        settings.primary.object_store.secret_key.get_secret_value()
    )
    tree["dr"]["object_store"]["secret_key"] = (
        settings.dr.object_store.secret_key.get_secret_value()
    )
    for site in ("primary", "dr"):
        password = getattr(settings, site).clickhouse.password.get_secret_value()
        tree[site]["clickhouse"]["password"] = password
    return json.dumps(tree)


def _listens(pid: int, port: int) -> bool:
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)


def _die_with_parent() -> Callable[[], None]:
    """For preexec_fn: the kernel ends the child when the process that started it is gone."""
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return before_exec


def serve(file: Path, port_offset: int | None) -> int:
    """Start a set, describe it in `file`, keep it until SIGTERM or SIGINT, remove `file`."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    directory = Path(tempfile.mkdtemp(prefix="hilum-engines-"))
    running = start_engines(directory, port_offset)
    description = {"pid": os.getpid(), "directory": str(directory), "settings": running.tree}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(description, indent=1))
    partial.rename(file)
    print(f"ready: {ENGINES_VARIABLE}={file}", flush=True)
    try:
        stop.wait()
    finally:
        file.unlink(missing_ok=True)
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def main() -> int:
    """The command line: `serve --file F`."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines")
    parser.add_argument("action", choices=["serve"])
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--port-offset", type=int)
    options = parser.parse_args()
    return serve(options.file.resolve(), options.port_offset)


if __name__ == "__main__":
    sys.exit(main())
