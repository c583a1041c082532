"""Every receiver that a comparison may name, by its key.

Invariant: a key stays what it is, since reports of earlier runs are compared by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from load.receivers import storescp
from load.receivers.hilum import run_hilum
from load.receivers.receiver import Receiver, ReceiverKind
from load.report.machine import versions


def _own_version() -> str | None:
    return versions()["hilum"]


RECEIVERS: Mapping[str, Receiver] = {
    receiver.key: receiver
    for receiver in (
        ReceiverKind(
            key="hilum",
            title="Hilum gateway",
            is_durable=True,
            package="",
            note="flushed before the answer, many associations by one flush",
            ask_version=_own_version,
            run=run_hilum,
        ),
        ReceiverKind(
            key="storescp",
            title="DCMTK storescp --fork",
            is_durable=False,
            package=storescp.PACKAGE,
            note="one process for each association, one file for each instance, never flushed",
            ask_version=storescp.version,
            run=storescp.run_storescp,
        ),
    )
}
