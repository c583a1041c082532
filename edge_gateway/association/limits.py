"""Every limit of the listener by name; each is enforced before the memory is taken.

Invariant: no length, count or wait that a peer chooses is used without one of these.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# PS3.8 9.3.1: type, reserved, 32-bit length.
PDU_HEADER_BYTES = 6
# Item length of a PDV and its context id and control header (PS3.8 9.3.5.1).
PDV_HEADER_BYTES = 6
# The standard counts the variable field only, many senders also their own headers.
PDATA_SLACK_BYTES = 6
ASSOCIATE_BYTES_MAX = 256 * KIB
COMMAND_SET_BYTES_MAX = 16 * KIB
# Odd ids from 1 to 255 (PS3.8 9.3.2.2).
CONTEXTS_MAX = 128
# Any transfer syntax is taken and only four are put last, so the first 16 of a context decide;
# what follows is passed over unread (128 contexts of 125 each took 24 ms of every other peer's).
SYNTAXES_READ_MAX = 16
# After an operation that is not C-STORE: a flood of them is held to a thousand a second on each
# association, and the thread that answers leaves the processor to those that store.
OTHER_OPERATION_PAUSE_S = 0.001
# RELEASE and ABORT carry four reserved or reason bytes, and nothing else is read but those.
SHORT_PDU_BYTES = 4
# The smallest maximum length of a peer under which an answer still fits in pieces.
PEER_PDU_BYTES_MIN = 8
# How much of what a refused sender still says is read and dropped, so that it sees our answer.
LINGER_BYTES_MAX = MIB
# How far beyond the data set limit is read before the association is given up.
OVERSIZE_DRAIN_BYTES_MAX = 64 * MIB
# The receive buffer starts here and grows, once a peer sends a longer PDU, to this and two of such
# PDUs: at most to this and about twice the maximum PDU length that we offered.
BUFFER_BYTES_MIN = 64 * KIB
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """The limits of one listener. Seconds are of the monotonic clock."""

    pdu_bytes_max: int = 256 * KIB
    object_bytes_max: int = 4 * GIB
    request_timeout_s: float = 10.0
    pdu_timeout_s: float = 60.0
    idle_timeout_s: float = 600.0
    send_timeout_s: float = 60.0
    linger_timeout_s: float = 2.0
    drain_timeout_s: float = 10.0
    # Operations of one association that may be open at once, where the peer asks for more than
    # one (PS3.7 D.3.3.3). What they hold in memory counts against the spool's budget.
    operations_window_max: int = 16
    pending_max: int = 512
    pending_per_address_max: int = 64
