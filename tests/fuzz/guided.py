"""The coverage-guided engine: libFuzzer through atheris, in a process of its own.

Invariant: the target's modules are imported instrumented, before anything else of them is. Must be
started by `__main__`; libFuzzer ends the process by itself.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings

import atheris

TARGET_PACKAGES = ["edge_gateway.association", "edge_gateway.scan"]


def main(name: str, options: list[str]) -> None:
    """Fuzzes the target of this name with libFuzzer's own options."""
    with atheris.instrument_imports(include=TARGET_PACKAGES):
        targets = importlib.import_module("tests.fuzz.targets")
    # What pydicom thinks of a peer's UID would be the whole output.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
