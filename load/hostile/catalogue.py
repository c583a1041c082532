"""The hostile peers by key, H1 to H30, as the design lists them.

Invariant: each key stands here once. Must not hold behaviour of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from contracts.failures import FatalError
from load.hostile import inside, leaving, opening, slow
from load.hostile.peer import Act, HostilePeer
from load.hostile.raw_peer import P_DATA, RQ, store_command


def _first(*names: str) -> tuple[Act, ...]:
    return tuple(opening.say_first(name) for name in names)


def _broken(*names: str) -> tuple[Act, ...]:
    return tuple(inside.break_rule(name) for name in names)


_SILENCES = (slow.stay_silent, slow.stay_silent_in_handshake)
_PEERS = (
    HostilePeer(
        "H1",
        "A-ASSOCIATE length 0xFFFFFFFF",
        (*_first("H1"), opening.fill_declared_length(RQ)),
    ),
    HostilePeer(
        "H2",
        "P-DATA length 0xFFFFFFFF",
        (*_broken("H2", "H2-over-offer"), opening.fill_declared_length(P_DATA)),
    ),
    HostilePeer(
        "H3",
        "PDV length 0, 1, larger than its PDU",
        _broken("H3-none", "H3-0", "H3-1", "H3-larger", "H3-max"),
    ),
    HostilePeer("H4", "fragments that never end", (inside.never_end,)),
    HostilePeer("H5", "command fragment after data fragment", _broken("H5")),
    HostilePeer("H6", "a second A-ASSOCIATE-RQ in mid data set", _broken("H6")),
    HostilePeer("H7", "A-ASSOCIATE-AC from a requestor", (*_first("H7"), *_broken("H7-later"))),
    HostilePeer(
        "H8",
        "16,000 transfer syntax sub-items",
        (opening.propose(contexts=opening.MANY_SYNTAXES),),
    ),
    HostilePeer(
        "H9",
        "300 contexts, even ids, duplicate ids",
        _first("H9-300-contexts", "H9-even-id", "H9-duplicate-id"),
    ),
    HostilePeer("H10", "AE titles of NULs, spaces, backslash, UTF-8", opening.odd_titles()),
    HostilePeer("H11", "maximum length 0, 1, 7, 0xFFFFFFFF", opening.odd_maximum_lengths()),
    HostilePeer("H12", "unknown user items", opening.odd_user_items("H12")),
    HostilePeer("H13", "asynchronous window 0/0 and 65535", opening.odd_user_items("H13")),
    HostilePeer("H14", "64 KB user identity", opening.odd_user_items("H14")),
    HostilePeer(
        "H15",
        "C-STORE-RQ without UID, with a 65-character UID, ../../x, NUL",
        tuple(inside.store(store_command(instance)) for instance in inside.NO_INSTANCE_UIDS),
    ),
    HostilePeer("H16", "command field 0xFFFF", _broken("H16")),
    HostilePeer(
        "H17",
        "group length lies",
        tuple(inside.store(command) for command in inside.LYING_COMMANDS),
    ),
    HostilePeer(
        "H18", "data set in another syntax than negotiated", (inside.store_in_other_syntax,)
    ),
    HostilePeer("H19", "C-CANCEL flood", (inside.flood_with_cancels,)),
    HostilePeer("H20", "N-EVENT-REPORT flood", (inside.flood_with_event_reports,)),
    HostilePeer("H21", "half-close after RQ", (leaving.half_close_and_listen,)),
    HostilePeer(
        "H22", "RST in each state", tuple(leaving.reset_in(state) for state in leaving.STATES)
    ),
    HostilePeer("H23", "release collision", (leaving.talk_after_release("H23"),)),
    HostilePeer("H24", "data after release", (leaving.talk_after_release("H24"),)),
    HostilePeer(
        "H25",
        "one byte a second in header, body and TLS record",
        tuple(slow.drip_in(where) for where in slow.DRIPPED),
        threads=10,
    ),
    HostilePeer("H26", "silent TLS", _SILENCES, threads=40, is_about_tls=True),
    HostilePeer("H27", "TLS then plain text", (slow.speak_plain_after_tls,), is_about_tls=True),
    HostilePeer(
        "H28",
        "HTTP, SSH, SMB, random",
        (*_first("H28-http", "H28-ssh", "H28-smb"), opening.say_noise),
    ),
    HostilePeer("H29", "2,000 connects", (slow.connect_in_crowds,), threads=1),
    HostilePeer(
        "H30",
        "200 associations that each send one object in 50 s",
        (slow.store_slowly,),
        threads=1,
        # Its harm is that the 200 are there; to let them in takes 0.3 s on two quiet cores.
        settle_s=1.0,
    ),
)
HOSTILE: Mapping[str, HostilePeer] = {peer.key: peer for peer in _PEERS}


def chosen(keys: Sequence[str]) -> tuple[HostilePeer, ...]:
    """The peers of `keys` in the list's order, all where there is none.

    Raises FatalError naming the nearest key where one is unknown.
    """
    wanted = {key.strip().upper() for key in keys}
    for key in sorted(wanted - set(HOSTILE)):
        near = difflib.get_close_matches(key, HOSTILE, n=1, cutoff=0.3)
        raise FatalError(
            f"hostile peer {key!r} is unknown",
            f"take {near[0]}" if near else "take one of H1 to H30",
        )
    return tuple(peer for peer in _PEERS if not wanted or peer.key in wanted)
