"""The DICOM conformance statement, `docs/dicom-conformance.md`, in the layout of PS3.2 annex N.

    python -m operations.reference        # writes it with the other generated pages

Invariant: what a machine decides is read from the code (`conformance_tables`); a test compares the
page with it. Only what no table holds is written here in words.
"""

from __future__ import annotations

from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edge_gateway.association.contexts import VERIFICATION
from edge_gateway.association.limits import CONTEXTS_MAX, SYNTAXES_READ_MAX
from edge_gateway.association.pdu import APPLICATION_CONTEXT_UID
from edge_gateway.association.tls import TLS_1_2_CIPHERS
from edge_gateway.association.user_information import STORAGE_INFORMATION
from edge_gateway.commitment.request import PUSH_MODEL, PUSH_MODEL_INSTANCE, TRANSFER_SYNTAXES
from edge_gateway.commitment.verdict import FailureReason
from infra.settings_commitment import CommitmentSettings
from operations import conformance_tables as tables
from operations.uid_names import uid_name

_SECTIONS = (
    "1 Overview",
    "2 Introduction",
    "3 Implementation model",
    "4 Edge gateway, as SCP",
    "5 Sender, as SCU",
    "6 Network interfaces",
    "7 Configuration",
    "8 Media interchange",
    "9 Character sets",
    "10 Security",
)


def conformance_page() -> str:
    """The whole statement."""
    return "\n".join(
        [
            "# DICOM conformance statement",
            "",
            *_overview(),
            *_introduction(),
            *_model(),
            *_acceptor(),
            *_storage(),
            *_commitment(),
            *_sender(),
            *_network(),
            *_security(),
        ]
    )


def _overview() -> list[str]:
    contents = [f"- [{name}](#{name.lower().replace(' ', '-').replace(',', '')})"
                for name in _SECTIONS]  # fmt: skip
    return [
        "Hilum's edge gateways take instances from modalities and hand them on to one archive.",
        "This page is generated from the code (`python -m operations.reference`).",
        "",
        "## Table of contents",
        "",
        *contents,
        "",
        "## 1 Overview",
        "",
        *tables.rows(
            ("SOP classes", "user of service (SCU)", "provider of service (SCP)"),
            (
                (uid_name(VERIFICATION), "yes", "yes"),
                (f"Storage: {len(tables.storage_classes())} standard ones, and any private or"
                 " unknown one", "yes", "yes"),
                (uid_name(PUSH_MODEL), "no", "yes, for the peers that the settings name"),
            ),
        ),
        "No query or retrieve, no worklist, no printing, no media creation.",
        "",
    ]  # fmt: skip


def _introduction() -> list[str]:
    return [
        "## 2 Introduction",
        "",
        "For those who connect a modality or a router, and for those who test. Conformance alone",
        "does not promise that two products work together: send test studies first, and look at",
        "`./hilum doctor --peer AET`, which prints the values for one calling AE title.",
        "Terms are those of PS3.2, PS3.4, PS3.7, PS3.8 and PS3.15.",
        "",
    ]


def _model() -> list[str]:
    return [
        "## 3 Implementation model",
        "",
        "```",
        " modality, router ── C-STORE, C-ECHO, N-ACTION ──▶ edge gateway ── events ──▶ archive",
        "         ▲                                            │",
        "         └──────────────── N-EVENT-REPORT ────────────┘",
        " hilum send ── C-STORE, C-ECHO ──▶ edge gateway or any other SCP",
        "```",
        "",
        "The gateway answers a C-STORE when its own disk has flushed the data set; the archive is",
        "reached afterwards, by another process. One gateway has one AE title and one port.",
        "",
    ]


def _acceptor() -> list[str]:
    return [
        "## 4 Edge gateway, as SCP",
        "",
        "### 4.1 Association acceptance",
        "",
        "An association is accepted when a rule of the settings admits its calling AE title from",
        "its network (and, where the rule says so, with its client certificate) as the called AE",
        "title. Without a rule nobody is admitted.",
        "",
        *tables.limit_rows(),
        *tables.rows(
            ("negotiated", "value"),
            (
                ("application context name", f"`{APPLICATION_CONTEXT_UID}`"),
                ("implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
                ("implementation version name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
                ("presentation contexts, at most", CONTEXTS_MAX),
                ("transfer syntaxes read of one context", f"the first {SYNTAXES_READ_MAX}"),
                (
                    "asynchronous operations window",
                    f"operations invoked: what is proposed, {tables.window_max()} at most "
                    "(`operations_window_max`), also where it is unlimited; performed: 1",
                ),
                ("SCP/SCU role selection", "the SCU role is accepted, the SCP role never"),
                (
                    "SOP class extended negotiation",
                    "of storage classes: level 2 (full), digital signatures of level 3, "
                    f"no coercion (`{STORAGE_INFORMATION.hex(' ')}`)",
                ),
                ("SOP class common extended negotiation", "read over; it has no answer"),
                ("user identity", "not supported: never answered, whatever response is requested"),
            ),
        ),
        "A context of a SOP class for which a peer proposes the SCP role alone is refused with",
        "result 1 (user-rejection): it would have no role in it.",
        "",
        "Within its window a peer may send further C-STORE requests before earlier ones are",
        "answered. Each is answered once, with its own Message ID Being Responded To, when its own",
        "data set is where the level wants it; so answers may come in another order than the",
        "requests. What a peer sends beyond its window is not read before an answer is out. A",
        "Message ID of an operation that is still open ends the association with A-ABORT. A",
        "release is answered after all operations that are open; what an abort or a lost",
        "connection finds open is stored and not answered.",
        "",
        "### 4.2 Association rejection",
        "",
        *tables.reject_rows(),
        "### 4.3 Association abort",
        "",
        "A peer that breaks the protocol, stays silent beyond a limit above, or sends a data set",
        "far over its limit is answered with A-ABORT. What it was sending leaves nothing behind;",
        "what was answered before stays.",
        "",
    ]


def _storage() -> list[str]:
    return [
        "### 4.4 Verification",
        "",
        f"C-ECHO of {uid_name(VERIFICATION)} (`{VERIFICATION}`) is answered 0000H.",
        "",
        "### 4.5 Storage",
        "",
        "Level 2 (full): every element is kept, private ones too. The data set is stored as the",
        "bytes that arrived, in the transfer syntax that was accepted; nothing is coerced. A",
        "repeated SOP Instance UID with the same bytes is the same instance; with other bytes",
        "both are kept and reported as a conflict. What has to hold an instance before 0000H is",
        "chosen for each calling AE title: [levels](levels.md).",
        "",
        *tables.status_rows(is_of_storage=True),
        "#### Transfer syntaxes",
        "",
        "Of each context the first transfer syntax proposed is accepted, unless the table says",
        "otherwise; private ones and ones unknown here are accepted like all others. A calling AE",
        "title may be held to some, and to less than it wants to send: [quotas](quotas.md).",
        "",
        *tables.transfer_syntax_rows(),
        "#### SOP classes",
        "",
        "Beside these, every private SOP class and every UID that is not in the standard's list.",
        "",
        *tables.storage_rows(),
    ]


def _commitment() -> list[str]:
    limits = CommitmentSettings()
    return [
        "### 4.6 Storage commitment",
        "",
        f"{uid_name(PUSH_MODEL)} (`{PUSH_MODEL}`, instance `{PUSH_MODEL_INSTANCE}`), accepted from",
        "the AE titles that `gateways.NAME.commitment.peers` names, in "
        + ", ".join(uid_name(uid) for uid in TRANSFER_SYNTAXES)
        + ".",
        "An N-ACTION is answered 0000H once the request is on the gateway's disk; that says no",
        "more than that it will be decided. The N-EVENT-REPORT goes to the host and port of the",
        "settings on an association of its own that proposes the SCP role for us, and is tried",
        "again. The reasons that it gives for a failed instance:",
        "",
        *tables.rows(
            ("failure reason", "meaning"),
            (
                (f"{reason.value:04X}H", reason.name.lower().replace("_", " "))
                for reason in FailureReason
            ),
        ),
        *tables.rows(
            ("limit", "default", "setting of `gateways.NAME.commitment`"),
            (
                ("references of one request", limits.references_max, "references_max"),
                ("bytes of one request", limits.request_bytes_max, "request_bytes_max"),
                ("requests open at once", limits.open_requests_max, "open_requests_max"),
                ("wait for what is not archived yet, s", limits.wait_s, "wait_s"),
                ("a report is tried for, s", limits.retry_for_s, "retry_for_s"),
                ("what was archived is known for, days", limits.kept_days, "kept_days"),
            ),
        ),
        *tables.status_rows(is_of_storage=False),
    ]


def _sender() -> list[str]:
    return [
        "## 5 Sender, as SCU",
        "",
        "`hilum send` proposes one transfer syntax for each SOP class, the one that the file is",
        "in, and sends the file's data set as the bytes that they are. One association at a time",
        "and one operation at a time. A transient reject and a lost association are tried again;",
        f"statuses {', '.join(tables.stored_statuses())} count as stored, all others do not.",
        "",
        *tables.scu_rows(),
    ]


def _network() -> list[str]:
    return [
        "## 6 Network interfaces",
        "",
        "DICOM upper layer over TCP/IP (PS3.8), IPv4 and IPv6, plain or TLS on the same port",
        "number, never both at once. Host names are resolved by the operating system.",
        "",
        "## 7 Configuration",
        "",
        "All settings are in [settings.md](settings.md); these are the ones that peers notice.",
        "",
        *tables.setting_rows(),
        "## 8 Media interchange",
        "",
        "`hilum send` reads DICOM files (PS3.10) from folders, zip archives and media: it follows",
        "a DICOMDIR's references and never sends the DICOMDIR itself. No media is written. In the",
        "archive instances are DICOM files with a new preamble and group 0002;",
        "see [packs.md](packs.md).",
        "",
        "## 9 Character sets",
        "",
        "Data sets are kept as they are, whatever they declare. For the index their text is read",
        "by Specific Character Set (0008,0005): the default repertoire and ISO_IR 100 as Latin 1,",
        "and " + ", ".join(tables.character_set_terms()) + ", with code extensions. An unknown",
        "term counts as the default repertoire.",
        "",
    ]


def _security() -> list[str]:
    return [
        "## 10 Security",
        "",
        "TLS 1.2 and 1.3 as the BCP 195 secure transport connection profiles of PS3.15 annex B",
        f"ask for it; cipher suites of TLS 1.2 in OpenSSL's words: `{TLS_1_2_CIPHERS}`. Client",
        "certificates are required unless the settings say otherwise, and an AE title can be bound",
        "to one. Plain text beyond loopback needs an explicit setting. No user identity is",
        "negotiated, no de-identification is done, and no digital signature is checked or made;",
        "those in a data set stay whole, as its bytes do.",
        "",
    ]
