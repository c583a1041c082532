"""Storage commitment, the SCP's side (PS3.4 annex J, IHE RAD-10).

    receive process                             forward process
    ───────────────                             ───────────────
    ActionDesk: N-ACTION-RQ → ledger, 0000      CommitmentDesk: ledger + custody → verdict
                                                Reporter: N-EVENT-REPORT, until it is taken

Invariant: 0000 to an N-ACTION says that the request is on disk and nothing about the instances;
an instance is called committed only where custody said that its bytes are held as strongly as the
peer's settings ask. The two processes share one SQLite file in the spool directory.
"""
