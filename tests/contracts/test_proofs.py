"""Custody proofs as bytes: whatever is done to them is found, at the position where it was done."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import UTC, datetime

import orjson
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import AssociationReceipt, Event, PackArchived, PackReplicated
from contracts.example_catalog import examples_of
from contracts.proof_check import Checked, SiteCheck, SiteVerdict, first_difference, judge
from contracts.proof_hashes import (
    MerkleTree,
    genesis,
    leaf_hash,
    merkle_path,
    next_link,
    node_hash,
    root_of_path,
)
from contracts.proof_leaves import identity_of, leaves_of
from contracts.proof_records import (
    FORMAT,
    ProofFormatError,
    RootBody,
    SegmentHead,
    decode_root,
    decode_segment,
    encode_segment,
    parse_key,
    root_key,
    segment_key,
    sign_root,
)
from contracts.proof_signing import SigningKey

SITE = "north"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
Segments = dict[int, bytes]


def rfc6962(hashes: list[bytes]) -> bytes:
    """The tree by RFC 6962's own recursion."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(rfc6962(hashes[:split]), rfc6962(hashes[split:]))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7, 8, 9, 64, 100])
def test_the_growing_tree_and_the_paths_are_those_of_rfc_6962(count: int) -> None:
    hashes = [leaf_hash(b"%d" % number) for number in range(count)]
    tree = MerkleTree()
    for one in hashes:
        tree.add(one)
    assert tree.root() == rfc6962(hashes)
    for index, one in enumerate(hashes):
        assert root_of_path(one, merkle_path(hashes, index)) == tree.root()


def leaf(position: int) -> bytes:
    return b'{"kind":"answered","n":%d}' % position


def written(
    leaves: list[bytes], sizes: list[int], key: SigningKey = KEY
) -> tuple[Segments, list[bytes]]:
    """Leaves as segments of these sizes with a root after every second one."""
    segments: Segments = {}
    roots: list[bytes] = []
    link, first, start, previous = genesis(SITE), 0, 0, ""
    for number, size in enumerate(sizes):
        part = leaves[first : first + size]
        segments[first] = segment(first, part, link)
        for one in part:
            link = next_link(link, leaf_hash(one))
        first += size
        if number % 2:
            tree = MerkleTree()
            for one in leaves[start:first]:
                tree.add(leaf_hash(one))
            body = RootBody(
                FORMAT, SITE, len(roots), start, first - start, tree.root().hex(), link.hex(),
                previous, "2026-01-02T03:04:05Z", key.public.key_id,
            )  # fmt: skip
            roots.append(sign_root(body, key))
            start, previous = first, decode_root(roots[-1]).sha256
    return segments, roots


def segment(first: int, leaves: list[bytes], link: bytes) -> bytes:
    return encode_segment(SegmentHead(FORMAT, SITE, first, len(leaves), link.hex(), "t"), leaves)


def checked(segments: Segments, roots: list[bytes]) -> Checked:
    check = SiteCheck(SITE, [KEY.public], roots)
    for first in sorted(segments):
        check.add(first, segments[first])
    return check.end()


def verdict(stores: list[tuple[Segments, list[bytes]]]) -> SiteVerdict:
    """Both stores judged, as the command does."""
    found = {f"store {number}": checked(*store) for number, store in enumerate(stores)}
    (ours, _), (theirs, _) = stores
    difference = None
    for first in sorted(ours.keys() | theirs.keys()):
        if ours.get(first) != theirs.get(first):
            at = first_difference(ours.get(first, b""), theirs.get(first, b""), first)
            difference = (at, "the stores differ")
            break
    return judge(SITE, found, difference)


sizes_strategy = st.lists(st.integers(1, 5), min_size=2, max_size=6)


@given(sizes_strategy)
@settings(max_examples=30, deadline=None)
def test_what_nobody_touched_holds(sizes: list[int]) -> None:
    leaves = [leaf(position) for position in range(sum(sizes))]
    store = written(leaves, sizes)
    found = checked(*store)
    assert found.fault is None and found.leaves == found.answered == len(leaves)
    assert found.roots == len(sizes) // 2 == len(store[1])
    assert found.signed == sum(sizes[: len(sizes) // 2 * 2])
    assert verdict([store, store]).ok


def rewritten(segments: Segments, first: int, lines: list[tuple[bytes, bytes]]) -> Segments:
    """A segment with other lines (leaf and link), its header as it was."""
    text = [orjson.dumps(asdict(decode_segment(segments[first]).head))]
    text += [link.hex().encode() + b" " + data for data, link in lines]
    packed = zstandard.ZstdCompressor().compress(b"\n".join(text) + b"\n")
    return {**segments, first: packed}


@given(sizes_strategy, st.data(), st.sampled_from(["edit", "drop", "swap", "truncate"]))
@settings(max_examples=80, deadline=None)
def test_a_touched_leaf_is_found_at_its_position(
    sizes: list[int], data: st.DataObject, how: str
) -> None:
    leaves = [leaf(position) for position in range(sum(sizes))]
    segments, roots = written(leaves, sizes)
    first = data.draw(st.sampled_from(sorted(segments)))
    found = decode_segment(segments[first])
    lines = list(zip(found.leaves, found.links, strict=True))
    index = data.draw(st.integers(0, len(lines) - 1))
    if how == "edit":
        lines[index] = (lines[index][0].replace(b"answered", b"answereD"), lines[index][1])
    elif how == "drop":
        del lines[index]
    elif how == "truncate":
        del lines[index:]
    elif index + 1 < len(lines):
        lines[index : index + 2] = [lines[index + 1], lines[index]]
    else:
        return
    touched = rewritten(segments, first, lines)
    fault = checked(touched, roots).fault
    assert fault is not None and fault.position == first + index
    assert verdict([(touched, roots), (segments, roots)]).position == first + index


@given(sizes_strategy, st.data(), st.sampled_from(["edit", "drop", "swap"]))
@settings(max_examples=80, deadline=None)
def test_a_chain_that_was_computed_anew_is_found_at_the_touched_leaf(
    sizes: list[int], data: st.DataObject, how: str
) -> None:
    leaves = [leaf(position) for position in range(sum(sizes))]
    segments, roots = written(leaves, sizes)
    index = data.draw(st.integers(0, len(leaves) - 2))
    forged, forged_sizes = list(leaves), list(sizes)
    if how == "edit":
        forged[index] = b'{"kind":"answered","n":-1}'
    elif how == "swap":
        forged[index : index + 2] = [leaves[index + 1], leaves[index]]
    else:
        del forged[index]
        forged_sizes = [*forged_sizes[:-1], forged_sizes[-1] - 1]
    anew, _ = written(forged, [size for size in forged_sizes if size])
    answer = verdict([(anew, roots), (segments, roots)])
    assert answer.position == index
    alone = checked(anew, roots).fault
    if index < decode_root(roots[-1]).body.end:
        assert alone is not None and alone.since <= index < alone.until


@given(sizes_strategy, st.data())
@settings(max_examples=60, deadline=None)
def test_a_missing_segment_is_found_where_it_began(sizes: list[int], data: st.DataObject) -> None:
    segments, roots = written([leaf(n) for n in range(sum(sizes))], sizes)
    gone = data.draw(st.sampled_from(sorted(segments)))
    less = {first: value for first, value in segments.items() if first != gone}
    assert verdict([(segments, roots), (less, roots)]).position == gone


@given(sizes_strategy, st.data())
@settings(max_examples=40, deadline=None)
def test_roots_that_are_forged_dropped_or_damaged_are_found(
    sizes: list[int], data: st.DataObject
) -> None:
    leaves = [leaf(n) for n in range(sum(sizes))]
    segments, roots = written(leaves, sizes)
    number = data.draw(st.integers(0, len(roots) - 1))
    first = decode_root(roots[number]).body.first
    signed_again = written(leaves, sizes, OTHER_KEY)[1][number]
    foreign = [*roots[:number], signed_again, *roots[number + 1 :]]
    damaged = [*roots[:number], b"{}", *roots[number + 1 :]]
    for bad in (foreign, damaged):
        fault = checked(segments, bad).fault
        assert fault is not None and fault.position == first and f"root {number}" in fault.what
    if number + 1 < len(roots):
        fault = checked(segments, roots[:number] + roots[number + 1 :]).fault
        assert fault is not None and fault.position == first


def test_a_forged_chain_that_both_stores_have_is_named_by_its_signed_tree() -> None:
    leaves = [leaf(n) for n in range(8)]
    _, roots = written(leaves, [2, 2, 2, 2])
    forged, _ = written([*leaves[:6], b"{}", leaves[7]], [2, 2, 2, 2])
    answer = verdict([(forged, roots), (forged, roots)])
    assert answer.position == 4 and "4 to 7 are not those of root 1" in answer.faults[0]


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_other_bytes_are_no_proof(data: bytes) -> None:
    for decode in (decode_segment, decode_root):
        with pytest.raises(ProofFormatError):
            decode(data)


def test_keys_tell_their_place_and_no_other_key_passes() -> None:
    for site in ("north", "Spital Süd/1", ".."):
        assert parse_key(segment_key(site, 12)) == (site, "leaves", 12)
        assert parse_key(root_key(site, 3)) == (site, "roots", 3)
    for foreign in ("proofs/a/leaves/1.zst", "packs/x", "proofs/north/other/0000000001.json"):
        assert parse_key(foreign) is None


def test_the_same_fact_has_the_same_identity_and_each_fact_its_own() -> None:
    events: list[Event] = [
        *examples_of(AssociationReceipt),
        *examples_of(PackArchived),
        *examples_of(PackReplicated),
    ]
    leaves = [one for event in events for one in leaves_of(event)]
    assert len({one.identity for one in leaves}) == len({one.data for one in leaves}) > 3
    assert all(identity_of(one.data) == one.identity for one in leaves)
    again = examples_of(PackReplicated)[0]
    later = replace(again, verified_at=datetime(2030, 1, 1, tzinfo=UTC))
    for one, other in zip(leaves_of(again), leaves_of(later), strict=True):
        assert one.identity == other.identity and one.data != other.data


def test_a_signature_holds_for_its_bytes_and_its_key_only() -> None:
    signature = KEY.sign(b"data")
    assert KEY.public.has_signed(b"data", signature)
    assert not KEY.public.has_signed(b"datb", signature)
    assert not OTHER_KEY.public.has_signed(b"data", signature)
