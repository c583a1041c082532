"""The conformance statement is held against a gateway that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from pynetdicom import AE, build_context

from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edge_gateway.association.limits import CONTEXTS_MAX
from edge_gateway.status import REJECTS, STATUSES
from infra.metric_list import METRICS
from operations.conformance import conformance_page
from operations.conformance_tables import character_set_terms, storage_classes
from operations.context import CHECKOUT
from operations.reference import metrics_page
from tests.edge_gateway.running_gateway import AE_TITLE, RunningGateway, running_gateway

PAGE = CHECKOUT / "docs" / "dicom-conformance.md"


def section(text: str, name: str) -> str:
    """What stands under one heading, up to the next."""
    begin = text.index(f" {name}\n")
    following = re.compile(r"^#+ ", re.MULTILINE).search(text, begin + len(name) + 2)
    return text[begin : following.start() if following else len(text)]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path) as running:
        yield running


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == conformance_page(), (
        "docs/dicom-conformance.md is old: run `python -m operations.reference`"
    )


def test_every_storage_class_of_the_page_is_accepted_as_it_says(gateway: RunningGateway) -> None:
    uids = re.findall(r"`([0-9.]+)`", section(PAGE.read_text(encoding="utf-8"), "SOP classes"))
    assert uids == storage_classes() and len(uids) > 150
    syntaxes = re.findall(
        r"`([0-9.]+)` \| in the order",
        section(PAGE.read_text(encoding="utf-8"), "Transfer syntaxes"),
    )
    assert len(syntaxes) > 30
    remaining = iter(uids)
    asked = 0
    while some := list(islice(remaining, CONTEXTS_MAX)):
        proposed = [build_context(uid, syntaxes[i % len(syntaxes)]) for i, uid in enumerate(some)]
        association = AE("TESTER").associate(
            "127.0.0.1", gateway.port, contexts=proposed, ae_title=AE_TITLE
        )
        assert association.is_established
        asked += len(association.accepted_contexts)
        acceptor = association.acceptor
        association.release()
        assert acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert acceptor.implementation_version_name == IMPLEMENTATION_VERSION_NAME
        assert f"| maximum PDU length received, bytes | {acceptor.maximum_length} |" in (
            PAGE.read_text(encoding="utf-8")
        )
    assert asked == len(uids)


def test_what_is_last_choice_is_taken_alone_only(gateway: RunningGateway) -> None:
    text = section(PAGE.read_text(encoding="utf-8"), "Transfer syntaxes")
    last = re.findall(r"`([0-9.]+)` \| only where", text)
    assert last
    uids = storage_classes()[: 2 * len(last)]
    alone = [build_context(uid, syntax) for uid, syntax in zip(uids, last, strict=False)]
    beside = [
        build_context(uid, [syntax, "1.2.840.10008.1.2"])
        for uid, syntax in zip(uids[len(last) :], last, strict=True)
    ]
    association = AE("TESTER").associate(
        "127.0.0.1", gateway.port, contexts=alone + beside, ae_title=AE_TITLE
    )
    chosen = [str(context.transfer_syntax[0]) for context in association.accepted_contexts]
    association.release()
    assert chosen == last + ["1.2.840.10008.1.2"] * len(last)


def test_no_status_reject_or_metric_is_left_out() -> None:
    page = conformance_page()
    for status in STATUSES:
        assert f"| {status.value:04X}H | {status.code or '–'} | {status.meaning} |" in page
    for reject in REJECTS:
        assert re.search(
            rf"\| {reject.result} \(.*\| {reject.source} \(.*\| {reject.reason} \|"
            rf" {re.escape(reject.meaning)} \|",
            page,
        )
    assert "ISO_IR 192" in character_set_terms() and "ISO_IR 192" in page
    assert all(f"| `{metric.name}` | {metric.kind} |" in metrics_page() for metric in METRICS)
