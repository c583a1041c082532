"""supervisord for one local stack: its configuration, its start, and its XML-RPC.

Invariant: a process that dies is started again, with a pause if it keeps dying, except after
exit code 78; supervisord starts nothing by itself, so the order of a start stays ours.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.failures import EXIT_FATAL, FatalError, RetryableError
from infra.engines.program import Program
from operations import stack_start
from operations.stack_files import StackFiles, write_private
from operations.stack_leftovers import MARKER_VARIABLE, is_alive

STOP_WAIT_S = 15
LOG_BYTES_MAX = "10MB"
LOG_BACKUPS = 3
# Kafka alone holds three files for each of some 200 partitions.
DESCRIPTORS_WANTED = 65_536
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
RPC_TIMEOUT_S = 30.0
_POLL_S = 0.1
_GONE = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")
_FAULT_BAD_NAME, _FAULT_ALREADY_STARTED, _FAULT_NOT_RUNNING = 10, 60, 70


@dataclass(frozen=True, slots=True)
class Supervised:
    """What supervisord says of one process."""

    name: str
    state: str
    pid: int | None
    exit_status: int
    started_s_ago: float

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None and self.state not in _GONE

    @property
    def is_fatal(self) -> bool:
        """Whether it said that a person has to look."""
        return self.state == "EXITED" and self.exit_status == EXIT_FATAL


class Supervisor:
    """The supervisor of one state directory; each call asks it anew."""

    def __init__(self, files: StackFiles) -> None:
        self._files = files
        self._configuration = files.run / "supervisord.conf"

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except RetryableError:
            return False

    def runs_with(self, programs: Sequence[Program]) -> bool:
        """Whether it was started with exactly these programs."""
        wanted = self._wanted(programs)
        try:
            return all(path.read_text(encoding="utf-8") == wanted[path] for path in wanted)
        except OSError:
            return False

    def launch(self, programs: Sequence[Program]) -> None:
        """Start supervisord with these programs, none of them running; returns when it answers."""
        for path, text in self._wanted(programs).items():
            write_private(path, text)
        self._files.socket.unlink(missing_ok=True)
        environment = {**os.environ, MARKER_VARIABLE: self._files.marker, "PYTHONSAFEPATH": "1"}
        command = (sys.executable, "-m", "supervisor.supervisord", "-n", "-c")
        with self._files.log("supervisord-start").open("wb") as log:
            process = subprocess.Popen(
                (*command, str(self._configuration)),
                cwd=self._files.state_directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_running():
            if not is_alive(process.pid) or time.monotonic() > deadline:
                raise FatalError(
                    "starting the supervisor failed",
                    f"read {self._files.log('supervisord-start')}",
                )
            time.sleep(_POLL_S)

    def processes(self) -> dict[str, Supervised]:
        """Every process by name. Raises RetryableError when supervisord does not answer."""
        return {info["name"]: _supervised(info) for info in self._call("getAllProcessInfo")}

    def start(self, names: Iterable[str]) -> list[str]:
        """Start those that do not run, without a pause; returns their names."""
        started = []
        for name in names:
            self._files.start_record(name).unlink(missing_ok=True)
            if self._tolerant("startProcess", name, _FAULT_ALREADY_STARTED):
                started.append(name)
        return started

    def stop(self, names: Sequence[str]) -> None:
        """Stop them side by side; returns when none of them runs."""
        for name in names:
            self._tolerant("stopProcess", name, _FAULT_NOT_RUNNING)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(self.processes()[name].is_alive for name in names):
            if time.monotonic() > deadline:
                return  # supervisord has sent SIGKILL by now; what is left is swept
            time.sleep(_POLL_S)

    def shut_down(self) -> None:
        """End supervisord and what it still runs; returns when it is gone."""
        pid = int(self._call("getPID"))
        self._call("shutdown")
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _tolerant(self, method: str, name: str, harmless_fault: int) -> bool:
        try:
            self._call(method, name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (harmless_fault, _FAULT_BAD_NAME):
                raise RetryableError(f"{method} {name}: {fault.faultString}") from fault
            return False
        return True

    def _call(self, method: str, *arguments: object) -> Any:
        transport = _UnixTransport(self._files.socket)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
                raise RetryableError(f"asking the supervisor ({method}): {error}") from error

    def _wanted(self, programs: Sequence[Program]) -> dict[Path, str]:
        """Its configuration, and for each program what `stack_start` reads."""
        sections = [_section(self._files, program) for program in programs]
        wanted = {self._configuration: "\n".join([*_head(self._files), *sections])}
        for program in programs:
            start = {"command": program.command, "environment": dict(program.environment)}
            wanted[self._files.program(program.name)] = json.dumps(start, indent=1)
        return wanted


def _head(files: StackFiles) -> Iterable[str]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else hard
    yield "[supervisord]"
    yield f"logfile = {_plain(files.log('supervisord'))}"
    yield f"pidfile = {_plain(files.run / 'supervisord.pid')}"
    yield f"logfile_maxbytes = {LOG_BYTES_MAX}\nlogfile_backups = {LOG_BACKUPS}"
    yield f"minfds = {min(DESCRIPTORS_WANTED, descriptors)}\numask = 077\nnocleanup = true"
    if os.getuid() == 0:
        yield "user = root"  # said, so that it does not warn of it at every start
    yield f"[unix_http_server]\nfile = {_plain(files.socket)}\nchmod = 0700"
    yield "[rpcinterface:supervisor]"
    yield "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface"


def _section(files: StackFiles, program: Program) -> str:
    # Command and environment stay out of here: supervisord cannot quote every value of the
    # latter, and shows both to whoever may ask it.
    starter = (sys.executable, "-I", "-S", stack_start.__file__)
    arguments = (files.program(program.name), files.start_record(program.name))
    command = (*starter, *map(str, arguments))
    return "\n".join(
        [
            f"[program:{program.name}]",
            f"command = {' '.join(_quoted(word) for word in command)}",
            f"directory = {_plain(program.directory)}",
            "autostart = false\nautorestart = unexpected",
            # With a start time above 0 every early exit would be tried again, also 78.
            f"exitcodes = {EXIT_FATAL}\nstartsecs = 0",
            f"stopwaitsecs = {STOP_WAIT_S}\nkillasgroup = true\nstopasgroup = false",
            f"stdout_logfile = {_plain(files.log(program.name))}\nredirect_stderr = true",
            f"stdout_logfile_maxbytes = {LOG_BYTES_MAX}\nstdout_logfile_backups = {LOG_BACKUPS}",
        ]
    )


def _quoted(word: str) -> str:
    """For supervisord's shlex: in double quotes, where a backslash protects quote and itself."""
    return '"' + _plain(word).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: object) -> str:
    text = str(value)
    # configparser ends a value at a line end and, after a blank, at a semicolon; some values
    # have their percent signs expanded once, some twice.
    if any(ord(character) < 32 for character in text) or " ;" in text or "%" in text:
        raise FatalError(
            f"the path {text!r} cannot be used here", "use --state with a plainer path"
        )
    return text


def _supervised(info: Mapping[str, Any]) -> Supervised:
    return Supervised(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        exit_status=info["exitstatus"],
        started_s_ago=float(info["now"] - info["start"]),
    )


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over supervisord's socket, with a time-out, which supervisor's own has not."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A connection to the socket; `host` only stands in the request."""
        return _UnixConnection(self._path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=RPC_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
