"""`hilum doctor`: everything that can be wrong around the processes, with what mends it.

Invariant: needs settings and nothing that runs; no check changes anything but a temporary file,
none takes longer than `findings.CHECK_S_MAX`, and what is down is a finding.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.settings import Settings
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.doctor_certificates import certificate_checks
from operations.doctor_engines import engine_checks
from operations.doctor_machine import machine_checks
from operations.doctor_processes import process_checks
from operations.doctor_quotas import quota_checks
from operations.doctor_spool import spool_checks
from operations.findings import Check, Finding, examine
from operations.stack_files import read_record, stack_files


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The keys of `hilum doctor --json`. `ok`: nothing is an error."""

    ok: bool
    errors: int
    warnings: int
    elapsed_s: float
    findings: tuple[Finding, ...]


def diagnose(context: Context, tell: Callable[[str], None]) -> Diagnosis:
    """Runs every check. Raises FatalError only where there are no valid settings to go by."""
    started_s = time.monotonic()
    findings = examine(checks_of(context.settings(), up_command(context)), tell)
    errors = sum(finding.verdict == "error" for finding in findings)
    warnings = sum(finding.verdict == "warning" for finding in findings)
    elapsed_s = round(time.monotonic() - started_s, 1)
    return Diagnosis(not errors, errors, warnings, elapsed_s, findings)


def checks_of(settings: Settings, up: str) -> list[Check]:
    """Every check for these settings, in the order in which they are shown; `up` heals a stack."""
    return [
        *machine_checks(settings),
        *spool_checks(settings, up),
        *quota_checks(settings),
        *certificate_checks(settings),
        *engine_checks(settings, up),
        *process_checks(settings, up),
    ]


def up_command(context: Context) -> str:
    """What starts or heals this stack, as one types it."""
    words = ["./hilum", "up", "--detach"]
    if context.state_directory != DEFAULT_STATE_DIRECTORY:
        words += ["--state", str(context.state_directory)]
    if context.settings_file is not None:
        words += ["--settings", str(context.settings_file)]
    elif offset := _port_offset(context):
        words += ["--port-offset", str(offset)]
    return shlex.join(words)


def _port_offset(context: Context) -> int:
    record = read_record(stack_files(context.state_directory))
    return context.port_offset or (record.port_offset if record else 0)
