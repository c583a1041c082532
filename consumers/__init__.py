"""One runner and many small writers: what happens to every event behind the gateways.

Invariant: a consumer sees seams and events, never a client library and never another consumer.
"""
