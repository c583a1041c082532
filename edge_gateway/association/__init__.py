"""The gateway's DICOM port: upper layer and DIMSE, acceptor's side (PS3.7, PS3.8).

Invariant: the only part that knows PDUs. It talks to the rest through `Admission`, `Intake` and
`status` alone, so that another engine can take its place.
"""

from edge_gateway.association.certificate_watch import CertificateWatch
from edge_gateway.association.limits import AssociationLimits
from edge_gateway.association.listener import Listener
from edge_gateway.association.tls import TlsCertificates

__all__ = ["AssociationLimits", "CertificateWatch", "Listener", "TlsCertificates"]
