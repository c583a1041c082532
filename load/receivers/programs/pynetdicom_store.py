"""A storage SCP as pynetdicom's users write it: one handler that saves each data set as a file.

Invariant: as plain as its documentation's examples, so that it stands for what is in use; the
bytes are written as received, without decoding them. Only `--flush` adds an fsync of the file.
"""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700


def handle_store(event: Event, directory: Path, is_flushed: bool) -> int:
    """Writes a Part-10 file named by the SOP Instance UID; the status of the C-STORE."""
    path = directory / str(event.request.AffectedSOPInstanceUID)
    try:
        with path.open("wb") as file:
            file.write(event.encoded_dataset(include_meta=True))
            if is_flushed:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        return OUT_OF_RESOURCES
    return SUCCESS


def main() -> None:
    """Serves until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ae-title", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--flush", action="store_true")
    arguments = parser.parse_args()
    entity = AE(ae_title=arguments.ae_title)
    # Ten by default, which is fewer than a comparison of idle associations opens.
    entity.maximum_associations = 256
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_STORE, handle_store, [arguments.directory, arguments.flush])]
    entity.start_server(("127.0.0.1", arguments.port), block=False, evt_handlers=handlers)
    threading.Event().wait()


if __name__ == "__main__":
    main()
