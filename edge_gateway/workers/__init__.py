"""The receive side of a gateway as several processes: one acceptor, and workers that receive.

Invariant: the acceptor holds the port, the gate and every count; a worker holds one spool and
serves the connections that it was handed. Neither does the other's work.
"""
