"""What an administrator does: the local stack, send, where, verify, dead letters.

Invariant: no command reads a gateway's files; remote sites are asked through topics, buckets and
ClickHouse. Every command has `--json` and exits 0 only when its answer is good.
"""
