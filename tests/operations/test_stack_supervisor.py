"""The supervisor of the local stack, with real processes that are small."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from contracts.failures import FatalError
from infra.engines.program import Probe, Program
from operations import stack_start
from operations.ports import free_ports
from operations.stack_files import StackFiles, StackRecord, create_directories, stack_files
from operations.stack_leftovers import end_marked_processes, is_alive, marked_processes
from operations.stack_states import ProcessState, process_states
from operations.stack_supervisor import Supervisor
from tests.polling import WITHIN_S, eventually

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"ready": true, "reason": "well"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
FATAL = """
import sys
print('{"event": "stopped", "reason": "wrong secret", "next_step": "correct it"}', flush=True)
sys.exit(78)
"""
WORD = "a \"b\" %c 'd' \n ;e"
CRASHING = "import sys; print('going down', flush=True); sys.exit(3)"


class Stack:
    """One supervisor with its files."""

    def __init__(self, directory: Path) -> None:
        self.files: StackFiles = stack_files(directory)
        create_directories(self.files)
        self.supervisor = Supervisor(self.files)
        self.record = StackRecord(0, {})

    def start(self, *programs: Program) -> None:
        self.record = StackRecord(0, {program.name: program.probe for program in programs})
        self.supervisor.launch(programs)
        self.supervisor.start(self.record.probes)

    def state(self, name: str) -> ProcessState:
        states = process_states(self.files, self.supervisor, self.record)
        return next(state for state in states if state.name == name)

    def await_state(self, name: str, holds: Callable[[ProcessState], bool]) -> ProcessState:
        deadline = time.monotonic() + WITHIN_S
        while not holds(state := self.state(name)):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Stack(tmp_path / "state with a blank, a \"quote\" and a 'second'")
    yield running
    end_marked_processes(running.files.marker)
    running.files.socket.unlink(missing_ok=True)


def program(directory: Path, name: str, source: str) -> Program:
    (port,) = free_ports(1)
    script = directory / f"{name}.py"
    script.write_text(source)
    command = (sys.executable, str(script), str(port))
    return Program(name, command, directory, Probe("http", port, "/readyz"), {"WORD": WORD})


def test_what_dies_is_started_again(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "server", SERVER))
    first = stack.await_state("server", lambda state: state.ready)
    assert (first.state, first.reason) == ("running", "well")
    assert first.pid is not None
    psutil.Process(first.pid).kill()
    second = stack.await_state("server", lambda state: state.ready and state.pid != first.pid)
    assert second.state == "running"


def test_exit_78_is_not_started_again_and_shows_its_reason(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "consumer", FATAL))
    state = stack.await_state("consumer", lambda state: state.state == "stopped")
    assert state.is_fatal
    assert state.reason == "exit code 78: wrong secret. Next step: correct it"
    assert state.pid is None
    lines = stack.files.log("consumer").read_text().count("stopped")
    assert lines == 1, "started once"


def test_a_crash_loop_pauses_longer_and_longer(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "crashing", CRASHING))
    state = stack.await_state("crashing", lambda state: state.state == "pausing")
    assert "going down" in state.reason
    assert "next start in" in state.reason
    assert [stack_start.pause_after(n) for n in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]


def test_an_old_start_is_no_crash_loop() -> None:
    record = {"started_at": 100.0, "quick_ends": 5.0}
    assert stack_start.count_quick_ends(record, 101.0) == 6
    assert stack_start.count_quick_ends(record, 100.0 + stack_start.STEADY_S) == 0
    assert stack_start.count_quick_ends(record, 50.0) == 0, "the machine was started anew"
    assert stack_start.count_quick_ends({}, 101.0) == 0


def test_a_second_start_of_a_running_process_is_harmless(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "server", SERVER))
    pid = stack.await_state("server", lambda state: state.ready).pid
    assert stack.supervisor.start(["server"]) == []
    assert stack.state("server").pid == pid


def test_shut_down_ends_everything(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "a", SERVER), program(tmp_path, "b", SERVER))
    stack.await_state("b", lambda state: state.ready)
    stack.supervisor.stop(["a"])
    assert stack.state("a").state == "stopped"
    stack.supervisor.shut_down()
    assert marked_processes(stack.files.marker) == []
    assert not stack.supervisor.is_running()
    assert "not up" in stack.state("b").reason


def test_what_a_killed_supervisor_left_is_ended_and_nothing_else(
    stack: Stack, tmp_path: Path
) -> None:
    other = Stack(tmp_path / "other")
    try:
        stack.start(program(tmp_path, "server", SERVER))
        other.start(program(tmp_path, "server", SERVER))
        stack.await_state("server", lambda state: state.ready)
        untouched = other.await_state("server", lambda state: state.ready).pid
        left = [p for p in marked_processes(stack.files.marker)]
        assert len(left) == 2
        for process in left:
            if "supervisor.supervisord" in process.cmdline():
                process.kill()
        eventually(lambda: len(marked_processes(stack.files.marker)) == 1, "the supervisor gone")
        ended = end_marked_processes(stack.files.marker)
        assert len(ended) == 1
        assert marked_processes(stack.files.marker) == []
        assert other.state("server").pid == untouched
    finally:
        end_marked_processes(other.files.marker)


def test_a_stopped_leftover_is_ended_too(stack: Stack, tmp_path: Path) -> None:
    stack.start(program(tmp_path, "server", SERVER))
    state = stack.await_state("server", lambda state: state.ready)
    assert state.pid is not None
    psutil.Process(state.pid).send_signal(signal.SIGSTOP)
    assert len(end_marked_processes(stack.files.marker)) == 2
    assert not is_alive(state.pid)


def test_a_path_the_supervisor_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="--state"):
        Stack(tmp_path / "100%").start(program(tmp_path, "server", SERVER))


def test_environment_and_command_arrive_as_they_are(stack: Stack, tmp_path: Path) -> None:
    said = "import os, sys, time; print(repr(os.environ['WORD'])); sys.exit(78)"
    stack.start(program(tmp_path, "server", said))
    state = stack.await_state("server", lambda state: state.state == "stopped")
    assert repr(WORD) in state.reason


def test_a_deep_state_directory_gets_a_short_socket(tmp_path: Path) -> None:
    deep = stack_files(tmp_path / "/".join(["a" * 50] * 4))
    assert len(str(deep.socket)) < 100
    assert deep.socket.parent == Path(tempfile.gettempdir())
    running = Stack(deep.state_directory)
    try:
        running.start(program(tmp_path, "server", SERVER))
        running.await_state("server", lambda state: state.ready)
    finally:
        running.supervisor.shut_down()
        end_marked_processes(running.files.marker)
        running.files.socket.unlink(missing_ok=True)
