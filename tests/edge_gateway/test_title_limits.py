"""Limits that one AE title has and the others do not: object size, transfer syntaxes."""

from __future__ import annotations

from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from edge_gateway import status
from tests.edge_gateway.running_gateway import DEADLINE_S, RunningGateway, running_gateway
from tests.edge_gateway.sending import instance, rule, send

IMPLICIT, EXPLICIT, JPEG_2000 = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.90",
)
# PS3.8 table 9-18: transfer-syntaxes-not-supported.
SYNTAXES_NOT_SUPPORTED = 4


def test_an_ae_title_may_have_a_smaller_object_limit(tmp_path: Path) -> None:
    rules = [rule("SMALL", object_bytes_max=100_000), rule("OTHER")]
    with running_gateway(tmp_path / "spool", admit=rules) as gateway:
        large, small = instance(tmp_path, 1, 400_000), instance(tmp_path, 2, 2_000)
        results = send(gateway, "SMALL", large, small)
        assert [result.status for result in results] == [status.OBJECT_TOO_LARGE.value, 0]
        assert results[0].comment.startswith("object-too-large ")
        assert [result.status for result in send(gateway, "OTHER", large)] == [0]


def answers(gateway: RunningGateway, calling: str) -> dict[int, tuple[int, str]]:
    """Result and transfer syntax by context id of: CT any, MR JPEG 2000, echo implicit."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = DEADLINE_S
    ae.add_requested_context(CTImageStorage, [JPEG_2000, IMPLICIT, EXPLICIT])
    ae.add_requested_context(MRImageStorage, JPEG_2000)
    ae.add_requested_context(Verification, IMPLICIT)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="NORTH")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    accepted = {
        int(one.context_id or 0): (int(one.result or 0), str(one.transfer_syntax[0]))
        for one in association.accepted_contexts
    }
    refused = {
        int(one.context_id or 0): (int(one.result or 0), "")
        for one in association.rejected_contexts
    }
    association.release()
    return accepted | refused


def test_an_ae_title_may_be_held_to_some_transfer_syntaxes(tmp_path: Path) -> None:
    rules = [rule("PLAIN", transfer_syntaxes=[EXPLICIT]), rule("OTHER")]
    with running_gateway(tmp_path / "spool", admit=rules) as gateway:
        assert answers(gateway, "PLAIN") == {
            1: (0, EXPLICIT),
            3: (SYNTAXES_NOT_SUPPORTED, ""),
            5: (0, IMPLICIT),
        }
        assert answers(gateway, "OTHER") == {1: (0, JPEG_2000), 3: (0, JPEG_2000), 5: (0, IMPLICIT)}
