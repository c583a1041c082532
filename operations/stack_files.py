"""The files of a local stack's state directory: settings, what was started, and the lock.

Invariant: the settings that `up` writes are what every process reads, so a command needs the
state directory alone. Files with secrets are readable by their owner only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.failures import FatalError
from infra.engines.program import Probe
from infra.local_stack import local_stack_tree
from infra.settings import Settings, load, overlay, validate

PORT_OFFSET_STEP = 1000
PORT_OFFSET_MAX = 54_000
# sockaddr_un has 108 bytes; supervisord binds a longer name (with its pid) before the real one.
SOCKET_PATH_BYTES_MAX = 90


@dataclass(frozen=True, slots=True)
class StackFiles:
    """Where a stack keeps what; `marker` tells its processes from all others."""

    state_directory: Path

    @property
    def marker(self) -> str:
        """The value of HILUM_STACK in the environment of each of its processes."""
        return hashlib.sha256(str(self.state_directory).encode()).hexdigest()[:24]

    @property
    def settings(self) -> Path:
        """What every process is started with."""
        return self.state_directory / "settings.toml"

    @property
    def run(self) -> Path:
        """Records of running processes; worthless once they are gone."""
        return self.state_directory / "run"

    @property
    def logs(self) -> Path:
        """One log file per process, rotated by the supervisor."""
        return self.state_directory / "logs"

    @property
    def socket(self) -> Path:
        """The supervisor's socket; in the temporary directory where its path would be too long."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        return Path(tempfile.gettempdir()) / f"hilum-{os.getuid()}-{self.marker}.sock"

    def log(self, name: str) -> Path:
        """The log file of one process."""
        return self.logs / f"{name}.log"

    def program(self, name: str) -> Path:
        """Command and environment of one process, with its secrets."""
        return self.run / f"{name}.program.json"

    def start_record(self, name: str) -> Path:
        """What `stack_start` keeps of one process."""
        return self.run / f"{name}.start.json"


@dataclass(frozen=True, slots=True)
class StackRecord:
    """What `up` started, for commands that come later: names in order, each with its probe."""

    port_offset: int
    probes: Mapping[str, Probe]


def stack_files(state_directory: Path) -> StackFiles:
    """The files of a state directory, whatever way its path is written."""
    return StackFiles(state_directory.expanduser().resolve())


def create_directories(files: StackFiles) -> None:
    """Make the state directory, closed to other users: spools and archives lie in it."""
    try:
        for directory in (files.state_directory, files.run, files.logs):
            directory.mkdir(parents=True, exist_ok=True)
        files.state_directory.chmod(0o700)
    except OSError as cause:
        raise FatalError(
            f"making the state directory {files.state_directory}: {cause.strerror}",
            "name a directory of your own with --state",
        ) from cause


@contextmanager
def exclusive(files: StackFiles) -> Iterator[None]:
    """One `up` or `down` at a time; raises FatalError while another one works."""
    with (files.run / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise FatalError(
                f"another `up` or `down` is at work in {files.state_directory}",
                "wait for it to end",
            ) from cause
        yield


def make_settings(
    files: StackFiles, port_offset: int, overlay_file: Path | None, consumers: Mapping[str, int]
) -> Settings:
    """Write the stack's settings and give them as its processes will read them.

    `overlay_file` wins over the local stack's own values; `consumers` are names with the port
    that one without a port in the settings gets. Raises FatalError for a value that is not valid.
    """
    if not 0 <= port_offset <= PORT_OFFSET_MAX or port_offset % PORT_OFFSET_STEP:
        raise FatalError(
            f"port offset {port_offset} is not usable",
            f"use a multiple of {PORT_OFFSET_STEP} up to {PORT_OFFSET_MAX}",
        )
    tree = local_stack_tree(files.state_directory, port_offset)
    for name, port in consumers.items():
        tree["consumers"].setdefault(name, {"http_port": port + port_offset})
    if overlay_file is not None:
        tree = overlay(tree, _read_overlay(overlay_file))
    validate(tree, str(overlay_file or "of the local stack"))
    write_private(files.settings, to_toml(tree))
    return load(files.settings)


def write_record(files: StackFiles, record: StackRecord) -> None:
    """Keep what was started."""
    probes = {name: asdict(probe) for name, probe in record.probes.items()}
    text = json.dumps({"port_offset": record.port_offset, "probes": probes}, indent=1)
    write_private(files.run / "stack.json", text)


def read_record(files: StackFiles) -> StackRecord | None:
    """What was started last; None where there was nothing yet."""
    try:
        tree = json.loads((files.run / "stack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    probes = {name: Probe(**probe) for name, probe in tree["probes"].items()}
    return StackRecord(tree["port_offset"], probes)


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by its owner only."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def to_toml(tree: Mapping[str, Any]) -> str:
    """A tree of tables, lists and plain values as TOML; None is left out."""
    return "".join(_table_lines(tree, ()))


def _table_lines(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(_key(part) for part in path)}]\n"
    for key, value in tree.items():
        if value is not None and not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}\n"
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _table_lines(value, (*path, key))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        told = {key: item for key, item in value.items() if item is not None}
        pairs = (f"{_key(key)} = {_value(item)}" for key, item in told.items())
        return f"{{ {', '.join(pairs)} }}"
    # JSON's escapes of a string are TOML's too.
    return json.dumps(str(value)).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    is_bare = key.replace("-", "").replace("_", "").isalnum() and key.isascii()
    return key if is_bare else json.dumps(key)


def _read_overlay(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise FatalError(
            f"reading the settings {path}: {cause.strerror}", "name an existing file"
        ) from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise FatalError(f"reading the settings {path}: {cause}", "correct the TOML") from cause
