"""The Avro schemas: `<event>.<version>.avsc`, versions consecutive from 1, never edited after use.

Invariant: an event's newest version writes; every older one stays readable for good.
"""
