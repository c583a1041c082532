"""The gateway's durable log: what stands between 0x0000 and a lost image (02-gateway.md).

    receive process                               forward process
    ───────────────                               ───────────────
    spool = Spool.open(directory, site, limits)   reader = SpoolReader(directory)
    spool.association_opened(...)                 for record in reader.poll(records_max=500):
    with spool.begin(facts) as sink:                  match record.entry: SpooledDelivery() | ...
        sink.write(view) ...                      with reader.open_body(delivery, location) as body:
        delivery = sink.commit()   # durable          for chunk in body.chunks(chunk_bytes): ...
        # or sink.submit(...).delivery() later
    spool.append_receipt(Receipt(...))            releaser = SpoolReleaser(directory)
    spool.association_closed(id, Ending.RELEASED) releaser.copy_forward(...), .purge(...),
    spool.admission()                                 .release_segment(number)

Invariant: a delivery that `commit` returned is recovered byte for byte after any kill or power
loss, and nothing is recovered that was not received. One receiver and one forwarder per directory.
What is listed in `__all__` is the whole surface; Kafka, DICOM parsing and the forwarder's states
are none of this package's business.
"""

from edge_gateway.spool.body import SpoolBody
from edge_gateway.spool.entry import (
    AssociationClosed,
    AssociationOpened,
    DeliveryFacts,
    Ending,
    Entry,
    Receipt,
    SpooledDelivery,
)
from edge_gateway.spool.errors import (
    ObjectTooLarge,
    SpoolBroken,
    SpoolCorrupt,
    SpoolEntryGone,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    SpoolMismatch,
    SpoolStalled,
)
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import GatewayIdentity
from edge_gateway.spool.limits import (
    Admission,
    RecoveryReport,
    SpoolLimits,
    SpoolStatistics,
    Usage,
)
from edge_gateway.spool.location import (
    SPOOL_START,
    RecordLocation,
    SpoolPosition,
    SpoolRecord,
)
from edge_gateway.spool.reader import SpoolReader
from edge_gateway.spool.release import SpoolReleaser, spool_usage
from edge_gateway.spool.sink import DeliverySink, Submission
from edge_gateway.spool.spool import Spool
from edge_gateway.spool.spool_set import SpoolSet

__all__ = [
    "SPOOL_START",
    "Admission",
    "AssociationClosed",
    "AssociationOpened",
    "DeliveryFacts",
    "DeliverySink",
    "Ending",
    "Entry",
    "FileSystem",
    "GatewayIdentity",
    "ObjectTooLarge",
    "Receipt",
    "RecordLocation",
    "RecoveryReport",
    "Spool",
    "SpoolBody",
    "SpoolBroken",
    "SpoolCorrupt",
    "SpoolEntryGone",
    "SpoolError",
    "SpoolFull",
    "SpoolLimits",
    "SpoolLocked",
    "SpoolMismatch",
    "SpoolPosition",
    "SpoolReader",
    "SpoolRecord",
    "SpoolReleaser",
    "SpoolSet",
    "SpoolStalled",
    "SpoolStatistics",
    "SpooledDelivery",
    "Submission",
    "Usage",
    "spool_usage",
]
