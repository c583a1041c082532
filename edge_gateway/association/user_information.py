"""What a requestor says of itself and proposes beside its contexts, and our answers (PS3.7 D.3.3).

Invariant: nothing is answered that was not proposed, and no role or window is wider than proposed.
What is not understood is passed over, as the standard asks (PS3.8 D.2). Must not raise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_gateway.association.items import ae_title, encode_item, uid_text
from edge_gateway.association.limits import CONTEXTS_MAX

# The default for each direction where no window was negotiated (PS3.7 D.3.3.3).
SYNCHRONOUS = 1
_UNLIMITED = 0
# PS3.4 B.3.1.2: level 2 (full), digital signatures of level 3 (kept bit by bit), no coercion.
STORAGE_INFORMATION = bytes((2, 0, 3, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Roles:
    """What a requestor wants to be for a SOP class (PS3.7 D.3.3.4)."""

    is_scu: bool
    is_scp: bool


@dataclass(slots=True)
class UserInformation:
    """The user information of an A-ASSOCIATE-RQ. `pdu_bytes_max` 0 means no limit.

    `operations_invoked`: how many operations it would like to have open at once, None where it
    proposes no window, 0 for any number. `roles` and `extended` are by SOP class. A user identity
    is not read: no answer to it tells the peer that it was not looked at (D.3.3.7), and a positive
    one would be a lie.
    """

    pdu_bytes_max: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    operations_invoked: int | None = None
    roles: dict[str, Roles] = field(default_factory=dict)
    extended: set[str] = field(default_factory=set)

    def is_left_without_a_role(self, sop_class_uid: str) -> bool:
        """Whether it wants to be the SCP alone, which is what we are."""
        roles = self.roles.get(sop_class_uid)
        return roles is not None and not roles.is_scu

    def window(self, operations_max: int) -> int:
        """How many operations it may have open at once: what it asked for, `operations_max` at
        most, and 1 where it asked for nothing.
        """
        if self.operations_invoked is None:
            return SYNCHRONOUS
        if self.operations_invoked == _UNLIMITED:
            return operations_max
        return min(self.operations_invoked, operations_max)


def decode_user_information(items: Iterable[tuple[int, bytes]]) -> UserInformation:
    """The sub-items of a user information item, each as type and value."""
    user = UserInformation()
    for item_type, value in items:
        if item_type == 0x51 and len(value) == 4:
            user.pdu_bytes_max = int.from_bytes(value, "big")
        elif item_type == 0x52:
            user.implementation_class_uid = uid_text(value)
        elif item_type == 0x53 and len(value) == 4:
            user.operations_invoked = int.from_bytes(value[:2], "big")
        elif item_type == 0x54:
            _note_roles(user, value)
        elif item_type == 0x55:
            user.implementation_version_name = ae_title(value[:16])
        elif item_type == 0x56 and len(user.extended) < CONTEXTS_MAX:
            user.extended.add(_sop_class(value)[0])
    return user


def encode_answers(
    user: UserInformation, accepted: Iterable[str], storage: Iterable[str], window: int
) -> bytes:
    """The sub-items of our A-ASSOCIATE-AC that answer what was proposed.

    `accepted` are the abstract syntaxes of the accepted contexts, `storage` those among them that
    are stored.
    """
    answers = []
    if user.operations_invoked is not None:
        # We invoke nothing on an association of the peer's, so for us the default stands.
        answers.append(encode_item(0x53, struct.pack(">HH", window, SYNCHRONOUS)))
    for uid in dict.fromkeys(accepted):
        if uid in user.roles:
            # The SCP is ourselves: only the SCU's role can be accepted.
            answers.append(encode_item(0x54, _counted(uid) + bytes((user.roles[uid].is_scu, 0))))
    for uid in dict.fromkeys(storage):
        if uid in user.extended:
            answers.append(encode_item(0x56, _counted(uid) + STORAGE_INFORMATION))
    return b"".join(answers)


def _note_roles(user: UserInformation, value: bytes) -> None:
    uid, rest = _sop_class(value)
    if len(rest) != 2 or len(user.roles) >= CONTEXTS_MAX:
        return
    roles = Roles(is_scu=rest[0] == 1, is_scp=rest[1] == 1)
    # Neither of the two is no proposal: the default roles stand.
    if roles.is_scu or roles.is_scp:
        user.roles.setdefault(uid, roles)


def _sop_class(value: bytes) -> tuple[str, bytes]:
    """The counted UID at the front of a sub-item, and what follows it."""
    end = 2 + int.from_bytes(value[:2], "big")
    return uid_text(value[2:end]), value[end:]


def _counted(uid: str) -> bytes:
    encoded = uid.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded
