"""What crosses a process boundary: identity, events, schemas, topics, packs and failures.

Invariant: pure. Nothing here opens a file of a running system, a socket or a thread.
"""
