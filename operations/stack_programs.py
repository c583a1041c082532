"""Which processes the local stack has, in the order of their start, and their ports.

Invariant: names are those that other people's scripts rely on; consumers come from the
catalogue and gateways from the settings, so neither is listed twice.
"""

from __future__ import annotations

import re
import sys

from consumers.catalog import CATALOG
from contracts.failures import FatalError
from infra.engines.local import engine_ports, python_environment
from infra.engines.program import Probe, Program
from infra.settings import Settings
from operations.stack_files import StackFiles

# Where a consumer that the local settings do not know gets its metrics port from.
FURTHER_CONSUMER_PORT = 9240
PACK_KEEPER = "pack-keeper"
_MEMBER = re.compile(r"(?P<name>.+)-[0-9]+\Z")


def consumer_ports() -> dict[str, int]:
    """A port for each consumer of the catalogue, for those that have none in the settings."""
    return {spec.name: FURTHER_CONSUMER_PORT + index for index, spec in enumerate(CATALOG)}


def service_programs(settings: Settings, files: StackFiles) -> list[Program]:
    """Everything that is Hilum itself, in the order of its start."""
    programs = [_registry(settings, files)]
    for name, gateway in settings.gateways.items():
        for process, role, port in (
            (f"gateway-{name}", "receive", gateway.http_port),
            (f"forward-{name}", "forward", gateway.forwarder_http_port),
        ):
            module = ("edge_gateway", role, "--gateway", name)
            programs.append(_python_program(files, process, module, port))
    for name in _consumer_processes(settings):
        port = settings.consumer(name).http_port
        programs.append(_python_program(files, name, ("consumers", name), port))
    if settings.packs.is_asked_for:
        port = settings.packs.http_port
        programs.append(_python_program(files, PACK_KEEPER, ("operations.packs.keeper",), port))
    # All receivers before the first forwarder: a modality is answered first.
    order = {"schema": 0, "gateway": 1, "forward": 2}
    return sorted(programs, key=lambda program: order.get(program.name.split("-")[0], 3))


def stack_ports(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The ports that each process listens on, by process name."""
    ports = engine_ports(settings)
    ports["schema-registry"] = (settings.schema_registry.port,)
    for name, gateway in settings.gateways.items():
        ports[f"gateway-{name}"] = (gateway.dicom_port, gateway.http_port)
        ports[f"forward-{name}"] = (gateway.forwarder_http_port,)
    for name in _consumer_processes(settings):
        ports[name] = (settings.consumer(name).http_port,)
    if settings.packs.is_asked_for:
        ports[PACK_KEEPER] = (settings.packs.http_port,)
    return ports


def _registry(settings: Settings, files: StackFiles) -> Program:
    environment = python_environment()
    command = (sys.executable, "-m", "infra.schema_registry", "--settings", str(files.settings))
    probe = Probe("http", settings.schema_registry.port, "/subjects")
    return Program("schema-registry", command, files.state_directory, probe, environment)


def _python_program(
    files: StackFiles, name: str, arguments: tuple[str, ...], http_port: int
) -> Program:
    if http_port == 0:
        raise FatalError(f"{name} has no HTTP port in the settings", "give it an `http_port`")
    command = (sys.executable, "-m", *arguments, "--settings", str(files.settings))
    probe = Probe("http", http_port, "/readyz")
    return Program(name, command, files.state_directory, probe, python_environment())


def _consumer_processes(settings: Settings) -> list[str]:
    """Each consumer of the catalogue, and `name-2` … where the settings have a table for it."""
    names = []
    for spec in CATALOG:
        members = [
            name
            for name in sorted(settings.consumers)
            if (found := _MEMBER.match(name)) and found["name"] == spec.name
        ]
        names += [spec.name, *members]
    return names
