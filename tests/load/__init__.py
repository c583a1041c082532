"""The load instrument, with real parts and tiny samples."""
