"""`hilum replay`: an index built anew beside the one in use, compared, and put in its place.

Invariant: the index in use is only ever exchanged whole, with its writer stopped; every step may
be cut off and is finished by the same command. It writes no row but by the product's own writer.
"""
