"""Every receiver that a comparison may name, by its key.

Invariant: a key stays what it is, since reports of earlier runs are compared by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from load.receivers import orthanc, pynetdicom_scp, storescp
from load.receivers.hilum import run_hilum
from load.receivers.null import run_null
from load.receivers.receiver import Receiver, ReceiverKind
from load.receivers.slowed import DELAY_MS, run_slowed
from load.report.machine import versions


def _own_version() -> str | None:
    return versions()["hilum"]


_OURS = (
    ReceiverKind(
        key="hilum",
        title="Hilum gateway",
        is_durable=True,
        package="",
        note="flushed before the answer, one flush for all associations that wait",
        ask_version=_own_version,
        run=run_hilum,
    ),
    ReceiverKind(
        key="slowed",
        title="Hilum gateway, slowed on purpose",
        is_durable=True,
        package="",
        note=f"sleeps {DELAY_MS:.0f} ms before each answer: a check of the comparison itself",
        ask_version=_own_version,
        run=run_slowed,
    ),
    ReceiverKind(
        key="null",
        title="null receiver",
        is_durable=False,
        package="",
        note="reads, drops and answers: the limit of the sender, never a peer",
        ask_version=_own_version,
        run=run_null,
    ),
)
_PEERS = (
    ReceiverKind(
        key="storescp",
        title="DCMTK storescp --fork",
        is_durable=False,
        package=storescp.PACKAGE,
        note="a process for each association, a file for each instance, never flushed",
        ask_version=storescp.version,
        run=storescp.run_storescp,
    ),
    ReceiverKind(
        key="orthanc",
        title="Orthanc",
        is_durable=True,
        package=orthanc.PACKAGE,
        # Its binary sets journal_mode=WAL and synchronous=NORMAL.
        note="files are flushed; its index is not at each commit, so that after a power loss the "
        "last files may be there and not be listed",
        ask_version=orthanc.version,
        run=orthanc.run_orthanc,
    ),
    ReceiverKind(
        key="orthanc-noflush",
        title="Orthanc, SyncStorageArea off",
        is_durable=False,
        package=orthanc.PACKAGE,
        note="neither files nor index are flushed before the answer",
        ask_version=orthanc.version,
        run=orthanc.run_orthanc_noflush,
    ),
    ReceiverKind(
        key="pynetdicom",
        title="pynetdicom",
        is_durable=False,
        package="",
        note="a file for each instance, as its documentation's examples write it",
        ask_version=pynetdicom_scp.version,
        run=pynetdicom_scp.run_pynetdicom,
    ),
    ReceiverKind(
        key="pynetdicom-flush",
        title="pynetdicom with fsync",
        is_durable=True,
        package="",
        note="each file is flushed, its name in the directory is not",
        ask_version=pynetdicom_scp.version,
        run=pynetdicom_scp.run_pynetdicom_flush,
    ),
)

RECEIVERS: Mapping[str, Receiver] = {receiver.key: receiver for receiver in (*_OURS, *_PEERS)}
