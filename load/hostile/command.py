"""`load hostile`: the rate of a good sender beside each hostile peer, as one report.

Invariant: every peer that was asked for has its figure, also where a receiver is missing or died
under it. It must not write the report.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from contracts.failures import FatalError, RetryableError
from load.compare.statistics import ratio_figure
from load.hostile.beside import Beside, Scene, Sender, measure, warm_up
from load.hostile.options import HostileOptions
from load.hostile.peer import HostilePeer
from load.hostile.program import hostile_process
from load.progress import Progress
from load.receivers import Receiver
from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Plot, Report, Section, Series, Table
from load.senders import Headroom, LeanOptions, headroom, mix_ceiling
from load.senders.headroom import NAME
from load.studies import default_cache, templates

TEMPLATE = "ct-small"
OWN = "hilum"
# A receiver that dies under a hostile peer is started again for the next one; one that does not
# start, or a measurement that breaks, is not tried for every peer.
STARTS_MAX = 31
BREAKS_MAX = 2
_COLUMNS = (
    "peer", "does", "alone /s", "beside /s", "p99 alone ms", "p99 beside ms", "answers", "turns",
    "cut off", "its CPU s", "threads +", "descriptors +", "files +", "memory + MB",
)  # fmt: skip


def run_hostile(options: HostileOptions, progress: Progress) -> Report:
    """The report of one run: 30 peers with quick samples take less than 5 minutes.

    `ok` is false when beside a hostile peer our gateway answered anything but 0000, or kept
    something after it. What happens to another receiver is told as a failure too, and does not
    change `ok`: it is a finding about that program.
    """
    began_at, began = datetime.now(UTC), time.perf_counter()
    described = machine(options.scratch or Path(tempfile.gettempdir()))
    figures: list[Figure] = []
    sections: list[Section] = []
    failures: list[Failure] = []
    own_failures = 0
    progress.stage("the sender's own ceiling")
    alone = Sender(templates(TEMPLATE, cache=default_cache()), options.seed)
    ceiling = mix_ceiling([(alone.plan(0, options.ceiling_s), LeanOptions())], options.ceiling_s)
    for receiver in options.chosen_receivers():
        found, broken = _measure_all(receiver, options, progress)
        figures += [_figure(receiver, peer, found, options) for peer in options.chosen_peers()]
        room = headroom(ceiling, [one.run for one in found.values()])
        figures.append(room.figure(*_headroom_name(receiver)))
        sections.append(_section(receiver, list(found.values()), room))
        told = [*broken, *(failure for one in found.values() for failure in one.failures)]
        failures += [_named(receiver, failure) for failure in told]
        own_failures += len(told) if receiver.key == OWN else 0
    installed = {one.key: one.version() or "not installed" for one in options.chosen_receivers()}
    return Report(
        command="hostile",
        seed=options.seed,
        started_at=began_at,
        seconds=time.perf_counter() - began,
        ok=not own_failures,
        machine=described,
        versions={**versions("scipy", "hdrhistogram"), **installed},
        parameters={
            "peers": " ".join(peer.key for peer in options.chosen_peers()),
            "receivers": " ".join(options.receivers),
            "sample_s": options.seconds,
            "pairs": options.pairs,
            "template": TEMPLATE,
        },
        figures=tuple(figures),
        sections=tuple(sections),
        failures=tuple(failures),
    )


def _measure_all(
    receiver: Receiver, options: HostileOptions, progress: Progress
) -> tuple[dict[str, Beside], list[Failure]]:
    """What was found by peer, and what broke a measurement."""
    found: dict[str, Beside] = {}
    broken: list[Failure] = []
    if receiver.version() is None:
        progress.note(f"{receiver.title} is not installed: not measured")
        line = f"not installed; apt-get install {receiver.package}"
        return found, [Failure(receiver.key, line, 1)]
    waiting = list(options.chosen_peers())
    progress.stage(f"hostile peers against {receiver.title}", len(waiting), "peers")
    for _ in range(STARTS_MAX):
        if not waiting or len(broken) >= BREAKS_MAX:
            break
        try:
            _measure_until_dead(receiver, options, waiting, found, progress)
        except (FatalError, RetryableError, OSError) as cause:
            where = waiting.pop(0).key if waiting else receiver.key
            broken.append(Failure(where, f"{type(cause).__name__}: {cause}", 1))
    if waiting:
        keys = tuple(peer.key for peer in waiting)
        broken.append(Failure(receiver.key, "peers not measured", len(keys), keys))
    return found, broken


def _measure_until_dead(
    receiver: Receiver,
    options: HostileOptions,
    waiting: list[HostilePeer],
    found: dict[str, Beside],
    progress: Progress,
) -> None:
    """Measures the waiting ones as long as the receiver lives; takes each from the list."""
    sender = Sender(templates(TEMPLATE, cache=default_cache()), options.seed)
    with (
        tempfile.TemporaryDirectory(prefix="hilum-hostile-", dir=options.scratch) as scratch,
        receiver.running(Path(scratch)) as running,
        hostile_process(
            running.target.port, running.target.called_ae_title, options.seed
        ) as process,
    ):
        scene = Scene(running, Path(scratch), process)
        # Twice: the first one makes the files and threads that a receiver keeps.
        sender = warm_up(running, warm_up(running, sender))
        while waiting and running.process_ids():
            peer = waiting[0]
            beside = measure(scene, peer, sender, options)
            found[peer.key] = beside
            waiting.pop(0)
            progress.advance()
            for failure in beside.failures:
                progress.note(f"{failure.where}: {failure.what} ({failure.count})")


def _figure(
    receiver: Receiver, peer: HostilePeer, found: dict[str, Beside], options: HostileOptions
) -> Figure:
    beside = found.get(peer.key)
    return ratio_figure(
        f"hostile/{receiver.key}/{peer.key}",
        f"{peer.key} {peer.title}" + ("" if receiver.key == OWN else f" ({receiver.title})"),
        "instances/s",
        ours=[pair[1] for pair in beside.pairs] if beside else [],
        theirs=[pair[0] for pair in beside.pairs] if beside else [],
        goal=None,
        peer="the same sender alone",
        seed=options.seed,
        note=_note(receiver, peer, beside, options),
    )


def _note(
    receiver: Receiver, peer: HostilePeer, beside: Beside | None, options: HostileOptions
) -> str:
    if receiver.version() is None:
        return f"{receiver.title} is not installed"
    notes = []
    if peer.is_about_tls:
        notes.append("at a port without TLS, since the lean sender speaks none")
    if beside and (missing := options.pairs - len(beside.pairs)):
        notes.append(f"{missing} of {options.pairs} pairs left out: the machine was too busy")
    return "; ".join(notes)


def _headroom_name(receiver: Receiver) -> tuple[str, str]:
    own = receiver.key == OWN
    return (NAME, "") if own else (f"{NAME}/{receiver.key}", receiver.title)


def _section(receiver: Receiver, found: Sequence[Beside], room: Headroom) -> Section:
    names = tuple(one.peer.key for one in found)
    alone = tuple(_mean([pair[0] for pair in one.pairs]) for one in found)
    beside = tuple(_mean([pair[1] for pair in one.pairs]) for one in found)
    rates = Plot(
        "Rate of the good sender", "bar", "hostile peer", "instances/s",
        (Series("alone", names, alone), Series("beside", names, beside)),
    )  # fmt: skip
    latencies = Plot(
        "p99 of the good sender's C-STORE", "bar", "hostile peer", "ms",
        (
            Series("alone", names, tuple(_present(one.p99_alone_ms) for one in found)),
            Series("beside", names, tuple(_present(one.p99_beside_ms) for one in found)),
        ),
    )  # fmt: skip
    return Section(
        f"{receiver.title} beside hostile peers",
        "One good sender (lean, one association, small CT instances) sends all the time; the "
        "hostile peer acts in every second sample. The columns with + say what the receiver "
        "held afterwards beyond what it held before, once its store was cleared. A sample "
        "in which nothing was answered counts as half an answer.",
        (Table("Each hostile peer", _COLUMNS, tuple(_row(one) for one in found)), room.table()),
        (rates, latencies),
    )


def _row(one: Beside) -> tuple[float | int | str | None, ...]:
    more = one.after.minus(one.before)
    answers = ", ".join(f"{status:04X}: {n}" for status, n in sorted(one.run.statuses.items()))
    return (
        one.peer.key, one.peer.title,
        _mean([pair[0] for pair in one.pairs]), _mean([pair[1] for pair in one.pairs]),
        _present(one.p99_alone_ms), _present(one.p99_beside_ms), answers,
        one.acted.turns, one.acted.faults.total(), round(one.acted.cpu_s, 2),
        more.threads, more.descriptors, more.files, round(more.memory_bytes / 1e6, 1),
    )  # fmt: skip


def _named(receiver: Receiver, failure: Failure) -> Failure:
    return Failure(
        f"{receiver.title}, {failure.where}", failure.what, failure.count, failure.examples
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None


def _present(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)
