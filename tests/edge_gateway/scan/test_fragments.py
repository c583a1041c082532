"""The memo of elements that were seen before."""

from __future__ import annotations

from edge_gateway.scan.fragments import FragmentMemo


def test_memo_forgets_rather_than_grows() -> None:
    memo = FragmentMemo(bytes_max=10_000)
    table = memo.table("explicit")
    for number in range(1000):
        memo.remember(table, b"%050d" % number, b"x" * 50)
        assert len(table.fragments) < 60
    assert table.fragments[b"%050d" % 999] == b"x" * 50
    serials = {memo.derived(table, number % 5000).serial for number in range(10_000)}
    assert len(serials) == 10_000
    assert memo.table("explicit").fragments == {}
