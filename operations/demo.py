"""`hilum demo`: the whole way of one study, on real engines, while one looks.

Invariant: shows what `where` and `verify` really answer; ends not ok when an image is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.live import Live
from rich.table import Table

from contracts.failures import HilumError
from infra.connect import Engines, connect
from infra.telemetry import Metrics
from operations import stack
from operations.answers import out, progress_out
from operations.context import Context
from operations.render import show_verdict
from operations.send import SendReport, SendRequest, send
from operations.verify import Verdict, VerifyOptions, verify
from operations.where import STATES, Whereabouts, where

SLICES = 60
FOLLOW_S = 240.0
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo did: the stack's start, the sending, how far each state came, the verdict."""

    ok: bool
    ready_after_s: float
    sent: SendReport
    study_instance_uid: str
    states: dict[str, dict[str, object]]
    everywhere_after_s: float | None
    verdict: Verdict


def demo(context: Context, tell: Callable[[str], None]) -> DemoReport:
    """Stack up, a synthetic study sent, followed into both archives, verified; the stack stays.

    Raises FatalError, RetryableError as the parts do.
    """
    options = stack.StackOptions(context.state_directory, context.port_offset, None, True)
    started = stack.up(options, tell)
    tell(f"the stack is ready after {started.seconds:.0f} s; sending {SLICES} synthetic CT slices")
    # Each demo has a study of its own, so that a second one is no resend of the first.
    seed = int(time.time())
    begun = time.monotonic()
    sent = send(context, SendRequest((), "north", "HILUM-DEMO", SLICES, seed))
    study = sent.study_instance_uids[0]
    engines = connect(context.settings(), "hilum-demo", Metrics())
    try:
        found = _follow(engines, study, not context.as_json)
        seconds = time.monotonic() - begun if found and found.ok else None
        verdict = verify(engines, VerifyOptions(), tell)
    finally:
        engines.close()
    if not context.as_json:
        _say_what_happened(context, study, seconds, verdict)
    return DemoReport(
        ok=sent.ok and seconds is not None and verdict.ok,
        ready_after_s=started.seconds,
        sent=sent,
        study_instance_uid=study,
        states={} if found is None else dict(found.states),
        everywhere_after_s=seconds,
        verdict=verdict,
    )


def _follow(engines: Engines, study: str, is_shown: bool) -> Whereabouts | None:
    deadline = time.monotonic() + FOLLOW_S
    found: Whereabouts | None = None
    with Live(console=progress_out, refresh_per_second=8, transient=False) as live:
        while time.monotonic() < deadline:
            try:
                found = where(engines, study)
            except HilumError:
                found = None  # an engine that has just started may still be busy
            if is_shown:
                live.update(_picture(found))
            if found is not None and found.ok and len(found.deliveries) >= SLICES:
                break
            time.sleep(POLL_S)
    return found


def _picture(found: Whereabouts | None) -> Table:
    picture = Table(title="The way of the study", title_justify="left", show_edge=False)
    for column in ("state", "slices", "first", "last"):
        picture.add_column(column)
    for state in STATES:
        summary: dict[str, Any] = found.states[state] if found else {"deliveries": 0}
        count = summary["deliveries"]
        bar = "█" * round(30 * count / SLICES)
        times = [
            at.strftime("%H:%M:%S.%f")[:-3] if at else ""
            for at in (summary.get("first_at"), summary.get("last_at"))
        ]
        picture.add_row(state, f"{bar:<30} {count:>3} of {SLICES}", *times)
    return picture


def _say_what_happened(
    context: Context, study: str, seconds: float | None, verdict: Verdict
) -> None:
    if seconds is None:
        out.print(f"[red]not everywhere after {FOLLOW_S:.0f} s[/]; ask: ./hilum status")
    else:
        out.print(
            f"[green]in both archives and both indexes[/] {seconds:.1f} s after the send began"
        )
    show_verdict(verdict)
    settings = context.settings()
    clickhouse = settings.primary.clickhouse
    out.print("\nThe stack goes on running. Try next:", style="bold")
    for line in (
        f"./hilum where {study}",
        "./hilum send --sample --seed 7 --to south",
        "./hilum verify --bytes",
        f"curl 'http://{clickhouse.host}:{clickhouse.port}/' "
        "-d 'SELECT modality, count() FROM hilum.instances GROUP BY modality'",
        "./hilum down",
    ):
        out.print(f"  {line}", soft_wrap=True)
