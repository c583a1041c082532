"""Fuzzing of what reads a peer's bytes: the PDU parser and the header scan. See docs/fuzzing.md."""
