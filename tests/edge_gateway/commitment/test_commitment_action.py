"""N-ACTION for storage commitment at the running gateway: what is taken, and how it is refused."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from contracts.failures import FatalError
from edge_gateway.commitment.ledger import CommitmentLedger, OpenRequest
from edge_gateway.commitment.request import (
    PUSH_MODEL,
    TRANSFER_SYNTAXES,
    InvalidRequest,
    Reference,
    decode_request,
)
from edge_gateway.commitment.schema import LEDGER_NAME, set_aside_if_damaged
from infra.local_stack import local_stack_tree
from infra.settings import validate
from infra.settings_commitment import CommitmentSettings
from load.hostile.raw_peer import (
    IMPLICIT,
    P_DATA,
    RawPeer,
    context,
    element,
    even,
    message,
    pdu,
    pdv,
)
from tests.edge_gateway.association.raw_peer import good_store
from tests.edge_gateway.commitment.modality_scu import CT, action_information, ask
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    association_threads,
    eventually,
    nothing_left_behind,
    running_gateway,
)

REFERENCES_MAX = 20
COMMITMENT = {
    "peers": [{"ae_title": "CT1", "host": "127.0.0.1", "port": 1}],
    "references_max": REFERENCES_MAX,
    "request_bytes_max": 4096,
    "open_requests_max": 5,
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path / "spool", commitment=COMMITMENT) as running:
        # The first association of a fresh spool opens what stays open.
        good_store(running.port)
        eventually(lambda: association_threads() == 0)
        yield running


def references(count: int) -> list[Reference]:
    return [Reference(CT, str(generate_uid())) for _ in range(count)]


def open_requests(gateway: RunningGateway) -> list[OpenRequest]:
    ledger = CommitmentLedger(gateway.directory)
    found: list[OpenRequest] = []
    while request := ledger.next_open(found[-1].request_id if found else 0):
        found.append(request)
    ledger.close()
    return found


@pytest.mark.parametrize("beside_storage", [False, True])
def test_a_request_is_on_disk_when_it_is_answered(
    gateway: RunningGateway, beside_storage: bool
) -> None:
    asked = references(3)
    information = action_information(asked)
    assert ask(gateway.port, "CT1", information, beside_storage=beside_storage) == 0x0000
    (request,) = open_requests(gateway)
    assert (request.ae_title, request.references) == ("CT1", tuple(asked))
    assert request.transaction_uid == str(information.TransactionUID)


def test_who_is_not_named_may_not_ask(gateway: RunningGateway) -> None:
    assert ask(gateway.port, "OTHER", action_information(references(1))) is None
    assert not open_requests(gateway)


def test_each_refusal_has_its_status_and_leaves_nothing(gateway: RunningGateway) -> None:
    port, good = gateway.port, action_information(references(1))
    without_uid = action_information(references(1))
    del without_uid.TransactionUID
    without_class = action_information(references(1))
    del without_class.ReferencedSOPSequence[0].ReferencedSOPClassUID
    empty = action_information([])
    nested = Dataset()
    nested.TransactionUID = generate_uid()
    with nothing_left_behind(gateway):
        assert ask(port, "CT1", good, action_type=2) == 0x0123
        assert ask(port, "CT1", good, instance_uid="1.2.3") == 0x0112
        for information in (without_uid, without_class, empty, nested, None):
            assert ask(port, "CT1", information) == 0x0115
        assert ask(port, "CT1", action_information(references(REFERENCES_MAX + 1))) == 0x0213
        assert ask(port, "CT1", action_information(references(200))) == 0x0213
    assert not open_requests(gateway)


def test_more_open_requests_than_the_limit_are_refused_and_a_repeat_is_not(
    gateway: RunningGateway,
) -> None:
    first = action_information(references(1))
    assert ask(gateway.port, "CT1", first) == 0
    for _ in range(4):
        assert ask(gateway.port, "CT1", action_information(references(1))) == 0
    assert ask(gateway.port, "CT1", action_information(references(1))) == 0x0213
    assert ask(gateway.port, "CT1", first) == 0
    assert len(open_requests(gateway)) == 5


def test_a_transaction_uid_in_use_for_other_instances_is_noted(gateway: RunningGateway) -> None:
    uid = str(generate_uid())
    for asked in (references(1), references(2)):
        assert ask(gateway.port, "CT1", action_information(asked, uid)) == 0
    assert [request.is_duplicate for request in open_requests(gateway)] == [False, True]


def test_an_action_on_another_class_and_one_broken_off_leave_nothing(
    gateway: RunningGateway,
) -> None:
    action = element(0x0003, even(PUSH_MODEL.encode())) + element(0x0100, b"\x30\x01")
    action += element(0x0110, b"\x01\0") + element(0x0800, b"\x01\0")
    action += element(0x1001, even(b"1.2.840.10008.1.20.1.1")) + element(0x1008, b"\x01\0")
    command = element(0x0000, len(action).to_bytes(4, "little")) + action
    contexts = context(1) + context(3, PUSH_MODEL, (IMPLICIT,))
    with nothing_left_behind(gateway):
        with RawPeer(gateway.port) as peer:
            peer.associate(calling=b"CT1", contexts=contexts)
            peer.send(message(command, b"\x08\0"))
            assert peer.read_status() == 0x0211  # on the storage context
        with RawPeer(gateway.port) as peer:
            peer.associate(calling=b"CT1", contexts=contexts)
            peer.send(pdu(P_DATA, pdv(3, 3, command)) + pdu(P_DATA, pdv(3, 0, bytes(1000))))
    assert not open_requests(gateway)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_noise_is_refused_and_never_raises(syntax: str) -> None:
    noise = bytes(range(256)) * 8
    for start in range(0, 256, 7):
        with pytest.raises(InvalidRequest):
            decode_request(noise[start:], syntax, 10)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    information = [action_information(references(1)) for _ in range(8)]
    settings = {**COMMITMENT, "open_requests_max": 100}
    with running_gateway(tmp_path / "spool", commitment=settings) as gateway:
        threads = [
            threading.Thread(target=ask, args=(gateway.port, "CT1", one)) for one in information
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asked = {str(one.TransactionUID) for one in information}
        assert {request.transaction_uid for request in open_requests(gateway)} == asked


def test_a_damaged_ledger_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_bytes(b"SQLite format 3\0" + b"\xff" * 9000)
    set_aside_if_damaged(tmp_path / LEDGER_NAME)
    ledger = CommitmentLedger(tmp_path)
    assert ledger.next_open(0) is None and ledger.due_peers(datetime.now(UTC)) == []
    ledger.close()
    set_aside_if_damaged(tmp_path / LEDGER_NAME)
    assert (tmp_path / "commitment.damaged").exists()


def test_the_documented_settings_are_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "storage-commitment.md").read_text()
    text = "".join(block.partition("```")[0] for block in page.split("```toml\n")[1:])
    tree = tomllib.loads(text)["gateways"]["north"]["commitment"]
    (peer,) = CommitmentSettings.model_validate(tree).peers
    assert peer.ae_title == "CT1" and peer.tls is not None


def test_a_peer_without_an_address_is_named_at_the_start(tmp_path: Path) -> None:
    tree = local_stack_tree(tmp_path, 0)
    tree["gateways"]["north"]["commitment"] = {"peers": [{"ae_title": "CT1"}]}
    with pytest.raises(FatalError, match=r"'CT1' may ask .* has no host and port"):
        validate(tree, "test")
    peer = {"ae_title": "CT1", "host": "ct", "port": 104}
    tree["gateways"]["north"]["commitment"] = {"peers": [peer, peer]}
    with pytest.raises(FatalError, match="more than once"):
        validate(tree, "test")
