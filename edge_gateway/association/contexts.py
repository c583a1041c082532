"""Which presentation contexts we accept, and with which transfer syntax (PS3.8 9.3.3.2).

Invariant: every SOP class that could be stored is accepted, private and unknown ones too, with
any transfer syntax; nothing is decoded on this path, so none needs to be known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

from pydicom.uid import UID

from contracts.identity import is_uid
from edge_gateway.association.pdu import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    AnsweredContext,
    ContextResult,
    ProposedContext,
)
from edge_gateway.commitment.request import PUSH_MODEL, TRANSFER_SYNTAXES

VERIFICATION = "1.2.840.10008.1.1"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.95"))
# Taken only where nothing else is offered: the scan behind would have to inflate or to swap.
LAST_CHOICE_SYNTAXES = _DEFLATED | {_EXPLICIT_VR_BIG_ENDIAN}


def is_stored(abstract_syntax: str) -> bool:
    """Whether a C-STORE may come in an accepted context of this abstract syntax."""
    return abstract_syntax not in (VERIFICATION, PUSH_MODEL)


@lru_cache(maxsize=4096)
def is_storage(abstract_syntax: str) -> bool:
    """Whether C-STORE is what this abstract syntax is for.

    Everything is, unless the standard's list (PS3.6 A) knows it as something else: so private
    SOP classes, new ones and retired ones can be stored.
    """
    if not is_uid(abstract_syntax) or abstract_syntax == _MEDIA_DIRECTORY:
        return False
    uid = UID(abstract_syntax)
    if uid.is_private or uid.name == abstract_syntax:
        return True
    if uid.type != "SOP Class":
        return False
    # Two retired storage classes stand in the list without a name.
    return not uid.name or ("Storage" in uid.name and "Storage Commitment" not in uid.name)


def choose_transfer_syntax(offered: Iterable[str]) -> str | None:
    """The requestor's first, except deflated and big endian where another is offered."""
    last_choice = None
    for syntax in filter(is_uid, offered):
        if syntax not in LAST_CHOICE_SYNTAXES:
            return syntax
        last_choice = last_choice or syntax
    return last_choice


def answer_context(
    proposed: ProposedContext,
    *,
    serves_commitment: bool = False,
    has_role: bool = True,
    syntaxes: Collection[str] = (),
) -> AnsweredContext:
    """Our answer to one proposed context: storage, Verification and, for a peer that may ask,
    storage commitment. `has_role`: the roles that the peer proposes for it leave it one.
    `syntaxes`: the only ones that may be stored; any where empty.
    """
    offered: Iterable[str] = proposed.transfer_syntaxes
    is_commitment = serves_commitment and proposed.abstract_syntax == PUSH_MODEL
    if is_commitment:
        # Its data sets are read here, unlike those of a C-STORE.
        offered = [syntax for syntax in offered if syntax in TRANSFER_SYNTAXES]
    elif syntaxes and proposed.abstract_syntax != VERIFICATION:
        offered = [syntax for syntax in offered if syntax in syntaxes]
    transfer_syntax = choose_transfer_syntax(offered)
    is_served = is_commitment or proposed.abstract_syntax == VERIFICATION
    result = ContextResult.ACCEPTANCE
    if not is_served and not is_storage(proposed.abstract_syntax):
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif transfer_syntax is None:
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    elif not has_role:
        result = ContextResult.USER_REJECTION
    return AnsweredContext(
        context_id=proposed.context_id,
        result=result,
        abstract_syntax=proposed.abstract_syntax,
        # Not significant where the context is refused, but the item has to be there.
        transfer_syntax=transfer_syntax or IMPLICIT_VR_LITTLE_ENDIAN,
    )
