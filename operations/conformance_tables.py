"""The tables of the conformance statement, each read from the code that enforces it.

Invariant: no UID, status, limit or default is typed here; what the standard calls them is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from edge_gateway import status
from edge_gateway.association.contexts import LAST_CHOICE_SYNTAXES, is_storage
from edge_gateway.receive import association_limits, spool_limits
from edge_gateway.scan.charset import DEFAULT_CHARACTER_SET, character_set
from edge_gateway.scu import ScuLimits
from infra.settings import GatewaySettings
from operations.uid_names import uid_name

# Defined Terms of (0008,0005), PS3.3 C.12.1.1.2; which of them are read is asked of the scan.
_TERMS = (
    *("ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126"),
    *("ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 13", "ISO_IR 166", "ISO_IR 192"),
    *("GB18030", "GBK", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"),
)
_RESULTS = {1: "rejected-permanent", 2: "rejected-transient"}
_SOURCES = {
    1: "DICOM UL service-user",
    2: "DICOM UL service-provider (ACSE)",
    3: "DICOM UL service-provider (presentation)",
}


def default_gateway() -> GatewaySettings:
    """A gateway with nothing set that has a default."""
    return GatewaySettings.model_validate(
        {"site": "site", "ae_title": "AET", "spool": {"directory": Path("spool")}}
    )


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table and an empty line."""
    drawn = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    drawn += [f"| {' | '.join(str(value) for value in line)} |" for line in lines]
    return [*drawn, ""]


def storage_classes() -> list[str]:
    """The storage SOP classes of the standard's list that are accepted, by UID."""
    listed = [uid for uid in UID_dictionary if UID(uid).type == "SOP Class" and is_storage(uid)]
    return sorted(listed, key=lambda uid: [int(part) for part in uid.split(".")])


def storage_rows() -> list[str]:
    """Every standard storage SOP class."""
    return rows(
        ("SOP class", "UID", ""),
        (
            (uid_name(uid), f"`{uid}`", "retired" if UID(uid).is_retired else "")
            for uid in storage_classes()
        ),
    )


def transfer_syntax_rows() -> list[str]:
    """The transfer syntaxes of the standard's list, with how they are chosen."""
    listed = [uid for uid in UID_dictionary if UID(uid).type == "Transfer Syntax"]
    every = sorted({*listed, *LAST_CHOICE_SYNTAXES}, key=lambda u: [int(p) for p in u.split(".")])
    return rows(
        ("transfer syntax", "UID", "chosen"),
        (
            (
                uid_name(uid),
                f"`{uid}`",
                "only where nothing else is proposed"
                if uid in LAST_CHOICE_SYNTAXES
                else "in the order proposed",
            )
            for uid in every
        ),
    )


def status_rows(is_of_storage: bool) -> list[str]:
    """The statuses of C-STORE and C-ECHO, or those that only N-ACTION gives."""
    return rows(
        ("status", "word in Error Comment", "meaning", "source"),
        (
            (f"{one.value:04X}H", one.code or "–", one.meaning, one.source)
            for one in status.STATUSES
            if is_of_storage != ("10.1.4" in one.source)
        ),
    )


def reject_rows() -> list[str]:
    """Every A-ASSOCIATE-RJ."""
    return rows(
        ("result", "source", "reason", "when"),
        (
            (
                f"{reject.result} ({_RESULTS[reject.result]})",
                f"{reject.source} ({_SOURCES[reject.source]})",
                reject.reason,
                reject.meaning,
            )
            for reject in status.REJECTS
        ),
    )


def limit_rows() -> list[str]:
    """What a gateway enforces by default, and the setting that changes it."""
    gateway = default_gateway()
    limits, spool = association_limits(gateway), spool_limits(gateway)
    return rows(
        ("limit", "default", "setting of `gateways.NAME`"),
        (
            ("associations at once", gateway.associations_max, "associations_max"),
            ("associations at once, one AE title", _rule_default(), "admit.associations_max"),
            ("maximum PDU length received, bytes", limits.pdu_bytes_max, "pdu_bytes_max"),
            ("largest data set, bytes", limits.object_bytes_max, "spool.object_bytes_max"),
            ("A-ASSOCIATE-RQ whole within, s", f"{limits.request_timeout_s:g}", "–"),
            ("one PDU whole within, s", f"{limits.pdu_timeout_s:g}", "–"),
            ("idle association aborted after, s", f"{limits.idle_timeout_s:g}", "idle_timeout_s"),
            ("response within, s", f"{spool.commit_wait_ms / 1000:g}", "–"),
            ("connections that wait to associate", limits.pending_max, "–"),
            ("the same from one address", limits.pending_per_address_max, "–"),
        ),
    )


def window_max() -> int:
    """How many operations an association may have open at once by default."""
    return association_limits(default_gateway()).operations_window_max


def stored_statuses() -> list[str]:
    """The statuses that our sender takes for stored; a range is named by its ends."""
    stored = {value for value in range(0x10000) if status.is_stored(value)}
    starts = sorted(value for value in stored if value - 1 not in stored)
    ends = sorted(value for value in stored if value + 1 not in stored)
    return [
        f"{first:04X}H" if first == last else f"{first:04X}H–{last:04X}H"
        for first, last in zip(starts, ends, strict=True)
    ]


def scu_rows() -> list[str]:
    """What we ask of a peer that we call."""
    limits = ScuLimits()
    return rows(
        ("limit", "value"),
        (
            ("maximum PDU length received, bytes", limits.pdu_bytes_max),
            ("association answered within, s", f"{limits.connect_timeout_s:g}"),
            ("response within, s", f"{limits.answer_timeout_s:g}"),
            ("tries of one instance", limits.tries_max),
        ),
    )


def character_set_terms() -> list[str]:
    """The terms that are read as more than the default repertoire or Latin 1."""
    return [term for term in _TERMS if character_set(term.encode()) != DEFAULT_CHARACTER_SET]


def setting_rows() -> list[str]:
    """The settings of a gateway that a peer notices, with their defaults."""
    gateway = default_gateway()
    shown = (
        *("bind", "dicom_port", "associations_max", "pdu_bytes_max", "idle_timeout_s"),
        "operations_window_max",
    )
    return rows(
        ("setting of `gateways.NAME`", "default"),
        (
            ("ae_title", "none: must be set"),
            ("admit", "empty: nobody is admitted"),
            ("tls", "none: plain text, on loopback only"),
            *((name, f"`{getattr(gateway, name)}`") for name in shown),
            ("allow_plain_text_beyond_loopback", f"`{gateway.allow_plain_text_beyond_loopback}`"),
        ),
    )


def _rule_default() -> int:
    rule = {"calling_ae_title": "*", "network": "127.0.0.0/8"}
    tree = default_gateway().model_dump() | {"admit": [rule]}
    return GatewaySettings.model_validate(tree).admit[0].associations_max
