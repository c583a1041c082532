"""Who may associate: by AE titles, network and room, each refusal with its reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.failures import FatalError
from edge_gateway import status
from edge_gateway.admission import Admission, Admitted, Capacity, Refusal, check_exposure
from tests.edge_gateway.running_gateway import gateway_settings


def admission(is_accepting: bool = True, **overrides: Any) -> Admission:
    gateway = gateway_settings(Path("nowhere"), **overrides)
    return Admission(gateway, lambda: Capacity(is_accepting, "spool full"))


def rule(calling: str = "*", network: str = "0.0.0.0/0", **more: Any) -> dict[str, Any]:
    return {"calling_ae_title": calling, "network": network, **more}


def reject(judged: Admitted | Refusal) -> status.Reject:
    assert isinstance(judged, Refusal)
    return judged.reject


def test_an_empty_allow_list_admits_nobody() -> None:
    assert reject(admission(admit=()).enter("CT1", "NORTH", "127.0.0.1")) == status.UNKNOWN_CALLING


@pytest.mark.parametrize(
    ("calling", "called", "address", "expected"),
    [
        ("CT1", "NORTH", "10.1.2.3", None),
        ("CT1", "NORTH", "10.2.2.3", status.UNKNOWN_CALLING),
        ("CT2", "NORTH", "10.1.2.3", status.UNKNOWN_CALLING),
        ("", "NORTH", "10.1.2.3", status.UNKNOWN_CALLING),
        ("*", "NORTH", "10.1.2.3", status.UNKNOWN_CALLING),
        ("CT1", "SOUTH", "10.1.2.3", status.UNKNOWN_CALLED),
        ("CT1", "north", "10.1.2.3", status.UNKNOWN_CALLED),
        ("CT1", "", "10.1.2.3", status.UNKNOWN_CALLED),
        ("CT1", "NORTH", "2001:db8::1", status.UNKNOWN_CALLING),
    ],
)
def test_titles_and_network_must_fit_one_rule(
    calling: str, called: str, address: str, expected: status.Reject | None
) -> None:
    judged = admission(admit=(rule("CT1", "10.1.0.0/16"),)).enter(calling, called, address)
    assert isinstance(judged, Admitted) if expected is None else reject(judged) == expected


def test_a_rule_may_name_another_called_ae_title() -> None:
    gate = admission(admit=(rule("CT1", called_ae_title="ALIAS"), rule("CT2")))
    assert isinstance(gate.enter("CT1", "ALIAS", "10.0.0.1"), Admitted)
    assert reject(gate.enter("CT1", "NORTH", "10.0.0.1")) == status.UNKNOWN_CALLED
    assert reject(gate.enter("CT2", "ALIAS", "10.0.0.1")) == status.UNKNOWN_CALLED


def test_the_rule_for_the_title_itself_speaks_before_the_one_for_any() -> None:
    gate = admission(admit=(rule(), rule("CT1", mismatch="refuse")))
    judged = gate.enter("CT1", "NORTH", "10.0.0.1")
    assert isinstance(judged, Admitted) and judged.rule.mismatch == "refuse"


def test_places_are_counted_per_title_and_gateway_and_given_back() -> None:
    gate = admission(admit=(rule(associations_max=2),), associations_max=3)
    first = gate.enter("CT1", "NORTH", "10.0.0.1")
    assert isinstance(first, Admitted)
    assert isinstance(gate.enter("CT1", "NORTH", "10.0.0.1"), Admitted)
    assert reject(gate.enter("CT1", "NORTH", "10.0.0.1")) == status.LIMIT_EXCEEDED
    assert isinstance(gate.enter("CT2", "NORTH", "10.0.0.1"), Admitted)
    assert reject(gate.enter("CT3", "NORTH", "10.0.0.1")) == status.CONGESTION
    gate.leave(first)
    assert gate.active == 2
    assert isinstance(gate.enter("CT1", "NORTH", "10.0.0.1"), Admitted)


def test_a_stranger_does_not_learn_that_the_spool_is_full() -> None:
    gate = admission(is_accepting=False, admit=(rule("CT1"),))
    assert reject(gate.enter("CT1", "NORTH", "10.0.0.1")) == status.LIMIT_EXCEEDED
    assert reject(gate.enter("CT2", "NORTH", "10.0.0.1")) == status.UNKNOWN_CALLING


def test_overload_is_always_transient_and_identity_permanent() -> None:
    for row in status.REJECTS:
        is_overload = row in (status.CONGESTION, status.LIMIT_EXCEEDED)
        assert (row.result == 2) == is_overload


def test_plain_text_beyond_loopback_needs_the_explicit_setting() -> None:
    with pytest.raises(FatalError, match="allow_plain_text_beyond_loopback"):
        check_exposure(gateway_settings(Path("nowhere"), bind="0.0.0.0"))
    allowed = gateway_settings(
        Path("nowhere"), bind="0.0.0.0", allow_plain_text_beyond_loopback=True
    )
    assert "PLAIN TEXT" in check_exposure(allowed)
    assert "loopback" in check_exposure(gateway_settings(Path("nowhere"), bind="::1"))


def test_every_error_comment_fits_its_element() -> None:
    delivery_id = "01a20407-1c94-7e4d-9696-665e41262c23"
    for row in status.STATUSES:
        assert len(status.comment(row, delivery_id)) <= 64


TLS = {"certificate_file": "gateway.pem", "key_file": "gateway.key", "client_ca_file": "ca.pem"}


@pytest.mark.parametrize(
    ("calling", "address", "shown", "expected"),
    [
        ("CT1", "10.0.0.1", {"dns:ct1"}, None),
        ("CT1", "10.0.0.1", {"subject:CN=CT1", "dns:x"}, None),
        ("CT1", "10.0.0.1", {"dns:mr1"}, status.CERTIFICATE_MISMATCH),
        ("CT1", "10.0.0.1", set(), status.CERTIFICATE_MISMATCH),
        ("CT1", "10.2.0.1", {"dns:ct1"}, status.CERTIFICATE_MISMATCH),
        ("CT1", "10.3.0.1", set(), None),
        ("MR1", "10.0.0.1", set(), None),
    ],
)
def test_a_certificate_claims_its_title_from_the_rules_for_any(
    calling: str, address: str, shown: set[str], expected: status.Reject | None
) -> None:
    rules = (
        rule(),
        rule("CT1", "10.0.0.0/16", certificate=["subject:CN=CT1", "DNS:CT1"]),
        rule("CT1", "10.3.0.0/16"),
    )
    gate = admission(admit=rules, tls=TLS)
    judged = gate.enter(calling, "NORTH", address, frozenset(shown))
    assert isinstance(judged, Admitted) if expected is None else reject(judged) == expected
