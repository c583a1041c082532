"""Hostile peers as values, and the rate of a good sender beside each of them (H1 to H30).

Invariant: a peer is defined here once; the gateway's tests and the load both drive this one. It
speaks raw bytes only, so nothing of the product can make it behave.

The command is `load.hostile.command.run_hostile`. It is not imported here: the gateway's tests
and the process that the peers act in need the peers alone, not the packages of a report.
"""
