"""`python -m load`: the stage table of the local stack that is up.

Invariant: two studies, bounded in size and time, to loopback.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from infra.settings import Settings
from infra.telemetry import configure_logging
from load.stages import StageTable, measure
from operations.answers import out, table, write_json
from operations.command_line import AsJson, PortOffset, State, answering, engines_of
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.synthetic import CtStudy

DEADLINE_S = 300.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@answering
def stages(
    slices: Annotated[int, typer.Option(help="512×512 slices.", min=1, max=2000)] = 500,
    small: Annotated[int, typer.Option(help="Small instances.", min=1, max=10_000)] = 2000,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    as_json: AsJson = False,
) -> bool:
    """Rates stage by stage and CPU seconds per GB by process; the sender shares the cores."""
    context = Context(state, port_offset, None, as_json)
    seed = int(time.time())
    with engines_of(context) as engines:
        _require_loopback(engines.settings)
        tables = [
            measure(context, engines, study, DEADLINE_S)
            for study in (CtStudy(slices, 512, seed), CtStudy(small, 32, seed + 1))
        ]
    if as_json:
        write_json({"studies": tables})
    else:
        for one in tables:
            _show(one)
    return True


def _require_loopback(settings: Settings) -> None:
    hosts = {gateway.bind for gateway in settings.gateways.values()}
    if not hosts <= {"127.0.0.1", "localhost", "::1"}:
        raise typer.BadParameter("load goes to a local stack on loopback only")


def _show(one: StageTable) -> None:
    table(
        f"{one.name}, {one.size_bytes / 1e6:.0f} MB",
        ("stage", "s after the first", "instances/s", "MB/s"),
        ((s.stage, s.seconds, s.instances_per_s, s.megabytes_per_s) for s in one.stages),
    )
    table(
        "CPU",
        ("process", "CPU s", "CPU s per GB"),
        ((cost.process, cost.cpu_s, cost.cpu_s_per_gb) for cost in one.costs),
    )
    out.print()


if __name__ == "__main__":
    configure_logging("hilum-load", "error")
    app()
