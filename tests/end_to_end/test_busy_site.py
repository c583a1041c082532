"""`verify` answers while a modality keeps its association open and goes on sending."""

from __future__ import annotations

import threading

from pynetdicom import AE

from operations.synthetic import CT_IMAGE_STORAGE, CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean

PAUSE_S = 0.2
# More than can be sent before the verdict is there, however long that takes.
INSTANCES_MAX = 10_000


def test_verify_is_ok_beside_an_association_that_goes_on_sending(stack: LocalStack) -> None:
    gateway = stack.settings().gateways["north"]
    stop = threading.Event()
    statuses: list[int] = []
    client = AE(ae_title="BUSY")
    client.add_requested_context(CT_IMAGE_STORAGE, "1.2.840.10008.1.2.1")
    client.acse_timeout = client.dimse_timeout = 120
    association = client.associate(gateway.bind, gateway.dicom_port, ae_title=gateway.ae_title)
    assert association.is_established

    def go_on() -> None:
        for data_set in CtStudy(INSTANCES_MAX, rows=16, seed=600).data_sets():
            statuses.append(association.send_c_store(data_set).Status)
            if stop.wait(PAUSE_S):
                return

    sender = threading.Thread(target=go_on)
    sender.start()
    try:
        verdict = stack.verify()
        assert sender.is_alive() and association.is_established
    finally:
        stop.set()
        sender.join(timeout=120)
        association.release()
    assert statuses and set(statuses) == {0x0000}
    assert_clean(verdict)
    last = stack.verify()
    assert_clean(last)
    assert last["acknowledged"] > verdict["acknowledged"]
