"""What an administrator does with packs: adopt, list, merge, collect, fetch.

Invariant: a pack is believed about its members only after its bytes were read and hashed, and no
command here takes away the last verified place of a delivery.
"""
