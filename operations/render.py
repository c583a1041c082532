"""Answers as tables for people.

Invariant: shows what the answer holds and computes nothing; `--json` has the same facts.
"""

from __future__ import annotations

from rich.markup import escape

from operations.answers import age_text, out, size_text, table
from operations.dead_letters import DeadLetter
from operations.inputs import InputProblem
from operations.quarantine import QuarantinedObject
from operations.send import SendReport
from operations.status import Status
from operations.verify import Verdict
from operations.where import STATES, Whereabouts


def show_status(status: Status) -> None:
    """Processes, spools and lags."""
    if status.processes:
        table(
            "Processes",
            ("name", "pid", "state", "ready", "reason"),
            ((p.name, p.pid, p.state, "yes" if p.ready else "no", p.reason)
             for p in status.processes),
        )  # fmt: skip
    table(
        "Gateways (their own last word)",
        ("gateway", "site", "said", "not archived", "oldest", "spool", "says"),
        (
            (
                s.gateway,
                s.site,
                f"{s.said_s_ago:.0f} s ago",
                s.depth,
                None if s.oldest_entry_at is None else age_text(s.oldest_entry_at),
                size_text(s.spool_bytes),
                s.reason,
            )
            for s in status.spools
        ),
    )
    table(
        "Consumer lag",
        ("consumer", "topic", "records", "seconds"),
        (
            (
                x.consumer,
                x.topic,
                x.lag_records,
                None if x.lag_seconds is None else f"{x.lag_seconds:.1f}",
            )
            for x in status.lags
        ),
    )
    for problem in status.problems:
        out.print(f"[red]not ok[/] {escape(problem)}")
    if status.ok:
        out.print("[green]ok[/] everything is running and ready")


def show_where(found: Whereabouts) -> None:
    """The way of a study, state by state."""
    if not found.deliveries:
        out.print(f"[yellow]{escape(found.key)} is not in the index[/]")
        out.print("It may still be at a gateway: these have images that are not archived yet.")
    else:
        total = len(found.deliveries)
        out.print(
            f"{found.found_as} {escape(found.key)}: {found.contents} instances, "
            f"{total} deliveries, {found.complete} everywhere"
        )
        table(
            "The way",
            ("state", "deliveries", "first", "last"),
            (
                (state, f"{summary['deliveries']} of {total}", summary["first_at"],
                 summary["last_at"])
                for state, summary in ((s, found.states[s]) for s in STATES)
            ),
        )  # fmt: skip
        packs = {row["object_key"] for row in found.deliveries if row["object_key"]}
        senders = {(row["site"], row["calling_ae_title"]) for row in found.deliveries}
        sent_by = escape(", ".join(f"{title} at {site}" for site, title in senders))
        out.print(f"in {len(packs)} packs; sent by {sent_by}")
    table(
        "Gateways",
        ("gateway", "site", "last word", "not archived", "says"),
        ((g.name, g.site, f"{g.age_s:.0f} s ago", g.unarchived, g.reason) for g in found.gateways),
    )
    for name, source in found.sources.items():
        out.print(f"{name}: {escape(source)}", style="dim", soft_wrap=True)


def show_verdict(verdict: Verdict) -> None:
    """The headline, the counts and what is not as it should be."""
    colour = "green" if verdict.ok else "red"
    out.print(
        f"[{colour}]acknowledged and not found: {verdict.acknowledged_not_found}[/]   "
        f"({'ok' if verdict.ok else 'not ok'})"
    )
    table(
        "Distinct images (SOP Instance UID, sha256)",
        ("acknowledged", "archived", "quarantined", "refused", "indexed", "replicated"),
        ((verdict.acknowledged, verdict.archived, verdict.quarantined, verdict.refused,
          verdict.indexed, verdict.replicated),),
    )  # fmt: skip
    out.print(
        f"{verdict.deliveries} deliveries; {verdict.in_flight} in flight; "
        f"{verdict.conflicts} conflicts; {verdict.orphan_objects} orphan objects "
        f"({size_text(verdict.orphan_bytes)}); {size_text(verdict.redundant_bytes)} redundant"
    )
    if verdict.bytes_checked is not None:
        out.print(f"{size_text(verdict.bytes_checked)} read again and re-hashed")
    if verdict.adopted is not None:
        out.print(f"{verdict.adopted} packs adopted that no event named")
    for name, source in verdict.sources.items():
        out.print(f"{name}: {escape(source)}", style="dim", soft_wrap=True)
    for reason in (*verdict.reasons, *verdict.bytes_wrong, *verdict.not_adopted):
        out.print(f"[red]not ok[/] {escape(reason)}")
    for key in verdict.orphans:
        out.print(f"[yellow]no event names[/] {escape(key)}", soft_wrap=True)
    for sop_instance_uid, content_sha256 in verdict.not_found:
        out.print(f"[red]not found[/] {sop_instance_uid} {content_sha256}")


def show_sent(report: SendReport) -> None:
    """Counts per status, problems by name, and the studies to ask for."""
    rate = report.bytes_sent / report.seconds if report.seconds else 0.0
    out.print(
        f"{report.acknowledged} of {report.sent} acknowledged by {report.to}, "
        f"{size_text(report.bytes_sent)} in {report.seconds:.1f} s ({size_text(rate)}/s)"
    )
    table("Statuses", ("status", "count"), report.statuses.items())
    if report.resent:
        out.print(f"{report.resent} sent again after a lost association")
    for problem in report.problems:
        out.print(f"[red]not sent[/] {_named(problem)}", soft_wrap=True)
    for warning in report.warnings:
        out.print(f"[yellow]sent as it is[/] {_named(warning)}", soft_wrap=True)
    for finding in report.findings:
        out.print(f"[yellow]data set only[/] {_named(finding)}", soft_wrap=True)
    if set(report.files) - {"sent"}:
        table("Files", ("end", "count"), report.files.items())
    for study in report.study_instance_uids:
        out.print(f"study {study}", soft_wrap=True)


def _named(one: InputProblem) -> str:
    return escape(f"{one.name}: {one.reason}")


def show_set_aside(letters: list[DeadLetter], objects: list[QuarantinedObject]) -> None:
    """One line a dead letter or object in quarantine."""
    rows: list[tuple[object, ...]] = [
        (
            letter.letter_id,
            letter.reason,
            letter.detail,
            letter.first_seen,
            len(letter.value),
            "redriven" if letter.is_redriven else "open",
        )
        for letter in letters
    ]
    rows += [
        (one.delivery_id, one.reason, f"from {one.calling_ae_title} at {one.site}",
         one.first_seen, one.size_bytes, "in quarantine")
        for one in objects
    ]  # fmt: skip
    table(
        f"{len(letters)} dead letters, {len(objects)} objects in quarantine",
        ("id", "reason", "detail", "first seen", "bytes", "state"),
        rows,
    )
