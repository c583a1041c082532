"""The machine under the processes: open files, kernel settings, ports, the clock's discipline.

Invariant: reads only, and a value that this system does not have is left out, not guessed.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edge_gateway.association.limits import BACKLOG, AssociationLimits
from infra.settings import Settings
from operations.findings import Check, Finding, judge

# Kafka maps two files of each log segment into memory, ClickHouse many more.
MAPPINGS_MIN = 65_530
# Beside the associations: segments, objects under way, Kafka's connections, SQLite, logs.
OTHER_FILES = 512
TIMEDATECTL_TIMEOUT_S = 5.0
_KERNEL = Path("/proc/sys")


def machine_checks(settings: Settings) -> list[Check]:
    """The checks of this machine."""
    return [
        Check(
            "machine", "open files", "a limit can be read", "ulimit -n", lambda: _files(settings)
        ),
        Check("machine", "kernel", "readable settings", "sysctl -a", lambda: _kernel(settings)),
        Check("machine", "time", "timedatectl answers", "timedatectl status", _synchronised),
    ]


def _files(settings: Settings) -> Iterator[Finding]:
    most = max((g.associations_max for g in settings.gateways.values()), default=0)
    # An association may stream to a file of its own beside its socket.
    wanted = 2 * most + AssociationLimits().pending_max + OTHER_FILES
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_enough = soft == resource.RLIM_INFINITY or soft >= wanted
    yield judge(
        "machine",
        "open files",
        "ok" if is_enough else "warning",
        f"{soft} in this shell",
        (f"at least {wanted} for associations_max", f"ulimit -n {wanted}   (then start again)"),
    )


def _kernel(settings: Settings) -> Iterator[Finding]:
    for name, least in (
        ("net.core.somaxconn", BACKLOG),
        ("net.ipv4.tcp_max_syn_backlog", BACKLOG),
        ("vm.max_map_count", MAPPINGS_MIN),
    ):
        found = _kernel_value(name)
        if found:
            yield judge(
                "machine",
                name,
                "ok" if found[0] >= least else "warning",
                str(found[0]),
                (f"at least {least}", f"sysctl -w {name}={least}"),
            )
    yield from _port_range(settings)


def _port_range(settings: Settings) -> Iterator[Finding]:
    """A client of any program may hold a port of this range when a listener wants it."""
    found = _kernel_value("net.ipv4.ip_local_port_range")
    if len(found) != 2:
        return
    reserved = (_KERNEL / "net/ipv4/ip_local_reserved_ports").read_text().strip()
    inside = [port for port in _listening(settings) if found[0] <= port <= found[1]]
    is_reserved = all(_is_in(port, reserved) for port in inside)
    listed = ",".join(map(str, inside))
    yield judge(
        "machine",
        "net.ipv4.ip_local_port_range",
        "ok" if is_reserved else "warning",
        f"{found[0]}-{found[1]}, with our ports {listed}" if inside else f"{found[0]}-{found[1]}",
        (
            "no port that we listen on, or that one reserved",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={listed}",
        ),
    )


def _listening(settings: Settings) -> list[int]:
    ports = [consumer.http_port for consumer in settings.consumers.values()]
    for gateway in settings.gateways.values():
        ports += [gateway.dicom_port, gateway.http_port, gateway.forwarder_http_port]
        if gateway.spool.mirror_directory is not None:
            ports.append(gateway.mirror_http_port)
    return sorted({port for port in (*ports, settings.schema_registry.port) if port})


def _is_in(port: int, ranges: str) -> bool:
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        if int(first) <= port <= int(last or first):
            return True
    return False


def _kernel_value(name: str) -> list[int]:
    try:
        text = (_KERNEL / name.replace(".", "/")).read_text()
        return [int(part) for part in text.split()]
    except (OSError, ValueError):
        return []


def _synchronised() -> Iterator[Finding]:
    if shutil.which("timedatectl") is None:
        return
    said = subprocess.run(
        ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
        capture_output=True,
        text=True,
        timeout=TIMEDATECTL_TIMEOUT_S,
        check=False,
    )
    answer = said.stdout.strip()
    # In a container there is no systemd to ask: the host keeps the clock.
    seen = {"yes": "synchronised by NTP", "no": "not synchronised"}.get(answer, "timedatectl: "
            + (said.stderr.strip().splitlines() or ["no answer"])[0])  # fmt: skip
    yield judge(
        "machine",
        "time",
        "ok" if answer == "yes" else "warning",
        seen,
        ("synchronised by NTP", "timedatectl set-ntp true   (or run an NTP service on the host)"),
    )
