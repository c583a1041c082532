"""What the gateway answers to roles, extended negotiation and user identity (PS3.7 D.3.3)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from edge_gateway.association.user_information import (
    UserInformation,
    decode_user_information,
    encode_answers,
)
from edge_gateway.commitment.request import PUSH_MODEL
from load.hostile.raw_peer import (
    AC,
    CT,
    RawPeer,
    context,
    data_set,
    item,
    store_command,
    user_information,
)
from tests.edge_gateway.association.windowed_peer import sub_items
from tests.edge_gateway.running_gateway import AE_TITLE, RunningGateway, running_gateway

VERIFICATION = "1.2.840.10008.1.1"
ACCEPTED, USER_REJECTION = 0, 1
CONTEXTS = context(1) + context(3, VERIFICATION)
# Full (2), signatures bit by bit (3), no coercion (0): PS3.4 B.3.1.
FULL_STORAGE = b"\2\0\3\0\0\0"


def counted(uid: str) -> bytes:
    return struct.pack(">H", len(uid)) + uid.encode()


def roles(scu: int, scp: int, uid: str = CT) -> bytes:
    return item(0x54, counted(uid) + bytes((scu, scp)))


def extended(uid: str, information: bytes = b"\2\0\3\0\0\0") -> bytes:
    return item(0x56, counted(uid) + information)


def identity(kind: int, positive: int) -> bytes:
    fields = struct.pack(">BBH", kind, positive, 4) + b"user" + struct.pack(">H", 4) + b"code"
    return item(0x58, fields)


def results(body: bytes) -> dict[int, int]:
    """The result of each context in an A-ASSOCIATE-AC, by its id."""
    found, data = {}, body[68:]
    while data:
        kind, _, length = struct.unpack_from(">BBH", data)
        if kind == 0x21:
            found[data[4]] = data[6]
        data = data[4 + length :]
    return found


def proposed(gateway: RunningGateway, more: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """Results of the contexts and our sub-items by type, after which a C-STORE must still work
    where its context was accepted."""
    with RawPeer(gateway.port) as peer:
        kind, body = peer.associate(contexts=CONTEXTS, user=user_information(more=more))
        assert kind == AC
        if results(body)[1] == ACCEPTED:
            assert peer.store(store_command(), data_set()) == 0
        answers: dict[int, list[bytes]] = {}
        for item_type, value in sub_items(body):
            answers.setdefault(item_type, []).append(value)
        return results(body), answers


@pytest.mark.parametrize(
    ("scu", "scp", "answer", "result"),
    [
        pytest.param(1, 0, (1, 0), ACCEPTED, id="scu"),
        pytest.param(1, 1, (1, 0), ACCEPTED, id="both"),
        pytest.param(0, 1, None, USER_REJECTION, id="scp-alone"),
        pytest.param(0, 0, None, ACCEPTED, id="neither-is-no-proposal"),
    ],
)
def test_the_peer_may_be_scu_and_never_scp(
    gateway: RunningGateway, scu: int, scp: int, answer: tuple[int, int] | None, result: int
) -> None:
    found, answers = proposed(gateway, roles(scu, scp))
    assert found == {1: result, 3: ACCEPTED}
    expected = [counted(CT) + bytes(answer)] if answer else None
    assert answers.get(0x54) == expected


def test_roles_of_what_is_not_accepted_are_not_answered(gateway: RunningGateway) -> None:
    _, answers = proposed(gateway, roles(1, 1, "1.2.840.10008.5.1.4.1.2.2.1"))
    assert 0x54 not in answers


def test_roles_of_storage_commitment_are_answered_where_it_is_served(tmp_path: Path) -> None:
    peers = [{"ae_title": "RAW", "host": "127.0.0.1", "port": 11112}]
    with running_gateway(tmp_path, commitment={"peers": peers}) as gateway:
        for scu, scp, result in ((1, 0, ACCEPTED), (1, 1, ACCEPTED), (0, 1, USER_REJECTION)):
            with RawPeer(gateway.port) as peer:
                _, body = peer.associate(
                    contexts=context(1, PUSH_MODEL),
                    user=user_information(more=roles(scu, scp, PUSH_MODEL)),
                )
            assert results(body) == {1: result}
            answer = [value for kind, value in sub_items(body) if kind == 0x54]
            assert answer == ([counted(PUSH_MODEL) + b"\1\0"] if result == ACCEPTED else [])


def test_extended_negotiation_of_storage_says_what_we_are(gateway: RunningGateway) -> None:
    _, answers = proposed(gateway, extended(CT) + extended(VERIFICATION) + extended("1.2.3"))
    assert answers[0x56] == [counted(CT) + FULL_STORAGE]


def test_common_extended_negotiation_has_no_answer(gateway: RunningGateway) -> None:
    """PS3.7 D.3.3.6: the requestor informs, and the acceptor is silent."""
    common = item(0x57, counted(CT) + counted("1.2.840.10008.4.2") + b"\0\0")
    _, answers = proposed(gateway, common)
    assert sorted(answers) == [0x51, 0x52, 0x55]


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 9])
def test_a_user_identity_is_never_confirmed(
    gateway: RunningGateway, kind: int, positive: int
) -> None:
    """PS3.7 D.3.3.7: it is not supported here, and silence says so. Admission is by AE title,
    network and certificate."""
    found, answers = proposed(gateway, identity(kind, positive))
    assert found[1] == ACCEPTED and 0x59 not in answers


def test_what_was_not_proposed_is_not_answered(gateway: RunningGateway) -> None:
    assert sorted(proposed(gateway, b"")[1]) == [0x51, 0x52, 0x55]


def test_a_stock_requestor_understands_the_answers(gateway: RunningGateway) -> None:
    """pynetdicom proposes all of it at once and uses what it is given."""
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 4
    storage = SOPClassExtendedNegotiation()
    storage.sop_class_uid = CT
    storage.service_class_application_information = FULL_STORAGE
    user = UserIdentityNegotiation()
    user.user_identity_type, user.primary_field = 1, b"somebody"
    user.positive_response_requested = True
    requestor = AE(ae_title="TESTER")
    requestor.add_requested_context(CT)
    association = requestor.associate(
        "127.0.0.1",
        gateway.port,
        ae_title=AE_TITLE,
        ext_neg=[window, storage, user, build_role(CT, scu_role=True, scp_role=True)],
    )
    assert association.is_established
    accepted = association.acceptor
    assert accepted.asynchronous_operations == (4, 1)
    assert accepted.sop_class_extended == {CT: FULL_STORAGE}
    assert accepted.user_identity is None
    (role,) = accepted.role_selection.values()
    assert (role.scu_role, role.scp_role) == (True, False)
    association.release()


_SUB_ITEMS = st.lists(st.tuples(st.integers(0x50, 0x5A), st.binary(max_size=80)), max_size=20)


@settings(max_examples=300, deadline=None)
@given(_SUB_ITEMS, st.integers(1, 256))
def test_nothing_wider_than_proposed_is_answered(
    found: list[tuple[int, bytes]], operations_max: int
) -> None:
    user: UserInformation = decode_user_information(found)
    window = user.window(operations_max)
    assert 1 <= window <= operations_max
    if user.operations_invoked:
        assert window <= user.operations_invoked
    answers = encode_answers(user, [CT], [CT], window)
    assert bool(answers) == (
        user.operations_invoked is not None or CT in user.roles or CT in user.extended
    )
