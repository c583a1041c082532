"""Real senders store: what was sent is in the spool, byte for byte, before it is acknowledged."""

from __future__ import annotations

import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pydicom.data
import pytest
from pynetdicom import AE
from pynetdicom import _config as pynetdicom_config
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from edge_gateway.association.contexts import choose_transfer_syntax, is_storage
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import SendResult, StoreScu
from edge_gateway.spool import Ending
from load.hostile.raw_peer import (
    AC,
    CT,
    P_DATA,
    RawPeer,
    context,
    data_set,
    element,
    message,
    pdu,
    pdv,
    store_command,
)
from operations.peers import find
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    echo,
    eventually,
    running_gateway,
)

pynetdicom_config.LOG_HANDLER_LEVEL = "none"
DATA = Path(pydicom.data.__file__).parent
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PRIVATE_SYNTAX, PRIVATE_CLASS = "1.2.840.113619.5.2", "1.2.840.113619.4.30"

# storescu's, one for each transfer syntax that it can turn these files into; the video ones are
# left out because it proposes them first and then cannot encode.
SYNTAX_OPTIONS = ("-xe", "-xb", "-xi", "-xs", "-xy", "-xv", "-xw", "-xt", "-xu", "-xr", "-xd")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path) as running:
        yield running


def corpus() -> list[OutgoingInstance]:
    """Every file of pydicom's that can be sent."""
    files = (path for path in sorted(DATA.rglob("*")) if path.is_file())
    outgoing = [read_outgoing(path) for path in files]
    return [instance for instance in outgoing if isinstance(instance, OutgoingInstance)]


def data_set_of(instance: OutgoingInstance) -> bytes:
    return instance.path.read_bytes()[instance.offset_bytes :]


def require(program: str) -> str:
    found = find(program)
    if found is None:
        pytest.skip(f"{program} is not installed (apt-get install dcmtk)")
    return found


def test_pydicoms_files_arrive_as_they_are_in_their_own_transfer_syntaxes(
    gateway: RunningGateway,
) -> None:
    sent = corpus()
    assert len(sent) > 150 and len({i.transfer_syntax_uid for i in sent}) >= 10
    results: list[SendResult] = []
    summary = StoreScu().send(sent, gateway.peer(), results.append)
    assert not summary.unanswered and summary.associations == 1
    stored = {delivery.delivery_id: (delivery, body) for delivery, body in gateway.deliveries()}
    assert len(stored) == len(sent)
    for result, (delivery, body) in zip(results, stored.values(), strict=True):
        assert body == data_set_of(result.instance)
        assert result.sha256 == delivery.content_sha256 == hashlib.sha256(body).hexdigest()
        assert delivery.transfer_syntax_uid == result.instance.transfer_syntax_uid
        assert (delivery.quarantine_reason is None) == (result.status == 0)
    eventually(lambda: len(gateway.closed()) == 1)
    closed = gateway.closed()[0]
    assert closed.ending == Ending.RELEASED
    assert Counter(dict(closed.status_totals)) == summary.statuses
    assert Counter(receipt.status for receipt in gateway.receipts()) == summary.statuses


def test_pynetdicom_stores_and_echoes(gateway: RunningGateway) -> None:
    ae = AE("PYNET")
    ae.add_requested_context(CTImageStorage, EXPLICIT)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="NORTH")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    instance = pydicom.dcmread(DATA / "test_files" / "CT_small.dcm")
    for _ in range(3):
        assert association.send_c_store(instance).Status == 0
    association.release()
    assert len(gateway.deliveries()) == 3
    delivery = gateway.deliveries()[0][0]
    assert (delivery.calling_ae_title, delivery.called_ae_title) == ("PYNET", "NORTH")
    assert delivery.peer_implementation_version_name.startswith("PYNETDICOM")


def test_contexts_of_other_services_are_refused_beside_storage(gateway: RunningGateway) -> None:
    ae = AE("PYNET")
    for abstract in (
        StorageCommitmentPushModel,
        CTImageStorage,
        StudyRootQueryRetrieveInformationModelFind,
        PRIVATE_CLASS,
    ):
        ae.add_requested_context(abstract)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="NORTH")
    results = {c.abstract_syntax: c.result for c in association.rejected_contexts}
    accepted = {c.abstract_syntax for c in association.accepted_contexts}
    association.release()
    assert set(results.values()) == {3} and len(results) == 2
    assert accepted == {CTImageStorage, PRIVATE_CLASS}


@pytest.mark.parametrize(
    ("abstract_syntax", "expected"),
    [
        (CT, True),
        (PRIVATE_CLASS, True),
        ("1.2.840.10008.5.1.4.1.1.9999", True),
        ("1.2.840.10008.5.1.4.1.1.9.1", True),
        ("1.2.840.10008.5.1.4.1.1.40", True),
        ("1.2.840.10008.5.1.4.39.1", True),
        ("1.2.840.10008.1.1", False),
        ("1.2.840.10008.1.3.10", False),
        ("1.2.840.10008.1.20.1", False),
        ("1.2.840.10008.5.1.4.1.2.2.1", False),
        ("1.2.840.10008.5.1.4.31", False),
        (IMPLICIT, False),
        ("", False),
        ("not a uid", False),
    ],
)
def test_everything_is_storage_but_what_is_known_as_something_else(
    abstract_syntax: str, expected: bool
) -> None:
    assert is_storage(abstract_syntax) is expected


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((IMPLICIT, EXPLICIT), IMPLICIT),
        ((DEFLATED, BIG, EXPLICIT), EXPLICIT),
        ((DEFLATED, BIG), DEFLATED),
        ((BIG,), BIG),
        ((PRIVATE_SYNTAX, IMPLICIT), PRIVATE_SYNTAX),
        (("garbage", IMPLICIT), IMPLICIT),
        ((), None),
    ],
)
def test_the_requestors_first_syntax_is_taken_but_not_deflated_or_big_endian(
    offered: tuple[str, ...], chosen: str | None
) -> None:
    assert choose_transfer_syntax(offered) == chosen


def test_a_private_class_in_a_private_syntax_is_kept_unread(gateway: RunningGateway) -> None:
    noise = bytes(range(256)) * 40
    with RawPeer(gateway.port) as peer:
        kind, _ = peer.associate(contexts=context(1, PRIVATE_CLASS, (PRIVATE_SYNTAX,)))
        assert kind == AC
        assert peer.store(store_command(sop_class=PRIVATE_CLASS.encode()), noise) == 0
    delivery, body = gateway.deliveries()[0]
    assert body == noise and delivery.quarantine_reason is None
    assert delivery.sop_class_uid == PRIVATE_CLASS


def test_dcmtk_echoes_and_stores_with_every_syntax_it_knows(gateway: RunningGateway) -> None:
    peer = ("127.0.0.1", str(gateway.port))
    subprocess.run([require("echoscu"), "-aec", "NORTH", *peer], check=True, timeout=120)
    files = [str(DATA / "test_files" / name) for name in ("CT_small.dcm", "MR_small.dcm")]
    for options in ((), ("+C",), ("-pdu", "131072"), *((name,) for name in SYNTAX_OPTIONS)):
        done = subprocess.run(
            [require("storescu"), "-v", "+v", "-aec", "NORTH", *options, *peer, *files],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (options, done.stderr)
    compressed = [
        str(DATA / "test_files" / name)
        for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm")
    ]
    subprocess.run(
        [require("dcmsend"), "-aec", "NORTH", *peer, *files, *compressed], check=True, timeout=120
    )
    assert len(gateway.deliveries()) == 2 * (3 + len(SYNTAX_OPTIONS)) + 5
    assert all(receipt.status == 0 for receipt in gateway.receipts())


def test_objects_of_all_sizes_around_the_memory_limit_arrive_whole(
    gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sized")
    instances = []
    for index, padding in enumerate((2, 131_060, 262_144, 1_048_576, 1_100_000, 9_000_000)):
        path = folder / f"{index}.dcm"
        path.write_bytes(data_set(f"1.2.3.{index}".encode(), padding))
        outgoing = read_outgoing(path)
        assert isinstance(outgoing, OutgoingInstance)
        instances.append(outgoing)
    summary = StoreScu().send(instances, gateway.peer())
    assert summary.is_complete
    assert [body for _, body in gateway.deliveries()] == [data_set_of(i) for i in instances]
    assert {delivery.external for delivery, _ in gateway.deliveries()} == {False, True}


def test_the_same_instance_twice_is_two_deliveries(gateway: RunningGateway) -> None:
    instance = corpus()[0]
    assert StoreScu().send([instance, instance], gateway.peer()).stored == 2
    first, second = (delivery for delivery, _ in gateway.deliveries())
    assert first.delivery_id < second.delivery_id
    assert first.content_sha256 == second.content_sha256


def test_echo_needs_no_storage_context(gateway: RunningGateway) -> None:
    assert echo(gateway.peer()) == 0


def test_a_store_on_the_verification_context_is_not_supported(gateway: RunningGateway) -> None:
    with RawPeer(gateway.port) as peer:
        peer.associate(contexts=context(1, "1.2.840.10008.1.1"))
        assert peer.store(store_command(sop_class=b"1.2.840.10008.1.1"), data_set()) == 0x0122
        assert peer.store(store_command(), data_set()) == 0x0122
    assert not gateway.deliveries()


def test_a_fragment_split_anywhere_is_put_together(gateway: RunningGateway) -> None:
    body = data_set(padding=3_000) + element(0x0000, b"", 0x7FE1)
    with RawPeer(gateway.port) as peer:
        peer.associate()
        command = store_command()
        for cut in (1, 7, 64, 1_999):
            pieces = [body[i : i + cut] for i in range(0, len(body), cut)]
            stream = pdu(P_DATA, pdv(1, 1, command[:9])) + pdu(P_DATA, pdv(1, 3, command[9:]))
            for index, piece in enumerate(pieces):
                stream += pdu(P_DATA, pdv(1, 2 * (index == len(pieces) - 1), piece))
            peer.send(stream)
            assert peer.read_status() == 0
    assert [stored for _, stored in gateway.deliveries()] == [body] * 4


def test_a_data_set_is_hashed_once_whether_it_comes_at_once_or_bit_by_bit(
    gateway: RunningGateway,
) -> None:
    body = data_set(padding=550_000)
    stream = message(store_command(), body)
    with RawPeer(gateway.port) as peer:
        peer.associate()
        for cuts in ((), (250_000,), (100_100, 300_050, 520_001)):
            for start, end in pairwise((0, *cuts, len(stream))):
                peer.send(stream[start:end])
                # The rest comes when the association has nothing left to read.
                eventually(partial(_is_read_up_to, gateway, end, len(stream)))
            assert peer.read_status() == 0
    expected = (hashlib.sha256(body).hexdigest(), body)
    assert [(one.content_sha256, kept) for one, kept in gateway.deliveries()] == [expected] * 3


def _is_read_up_to(gateway: RunningGateway, end: int, whole: int) -> bool:
    # Fragments of 100 kB: all but the last one that began.
    return end == whole or gateway.spool.statistics().memory_bytes >= end - 102_000
