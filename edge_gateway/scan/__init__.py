"""The header scan: a data set's bytes to the DICOM JSON Model without bulk data (PS3.18 F).

Invariant: content never makes it raise, and what it costs is bounded by `ScanLimits`.
It must not know of networks, spools or Kafka.
"""

from edge_gateway.scan.header import SCANNER_VERSION, ScannedHeader, scan_header
from edge_gateway.scan.identify import HEAD_BYTES_MAX, Unreadable, identifying_uids
from edge_gateway.scan.limits import EventLimits, HeaderReason, ScanLimits
from edge_gateway.scan.oversize import FittedHeader, fit_event

__all__ = [
    "HEAD_BYTES_MAX",
    "SCANNER_VERSION",
    "EventLimits",
    "FittedHeader",
    "HeaderReason",
    "ScanLimits",
    "ScannedHeader",
    "Unreadable",
    "fit_event",
    "identifying_uids",
    "scan_header",
]
