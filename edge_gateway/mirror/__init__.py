"""The mirror of a gateway's spool on a second disk, kept by a process of its own.

Invariant: what it confirms is flushed there, byte for byte; no sender who did not ask for level
`mirror` waits for any of it. Must not be needed by the receive or the forward process.
"""
