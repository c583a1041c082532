"""The header scan beside pydicom: the same 260-element data set, in this process.

Invariant: both give the DICOM JSON Model of the same bytes, and that is checked before the clock
runs. It must not touch a disk or a network.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable

from pydicom import dcmread
from pydicom.dataelem import DataElement

from contracts.failures import FatalError
from edge_gateway.scan import scan_header
from load.compare.bench import ROUNDS, Bench, Measured, Measurement, alternating
from load.compare.goals import SCAN, Samples
from load.studies import Identity, Template, default_cache, stamp, templates, write_part10

TURN_S = 0.2
_BULK_BYTES = 1024
_START_S = 1.0


def scan_measurement() -> Measurement:
    """Short turns: a scan is a fraction of a millisecond."""
    return Measurement(
        key=SCAN,
        title="header scan",
        fixed_s=_START_S + 2 * ROUNDS * TURN_S,
        samples=0,
        measure=measure_scan,
    )


def measure_scan(bench: Bench) -> Measured:
    """Milliseconds a header, ours and pydicom's in turns."""
    template = templates("ct", cache=default_cache())
    identity = Identity(bench.seed, 1, 1, 1)
    data_set = bytes(stamp(template, identity))
    path = bench.directory / "scanned.dcm"
    write_part10(path, template, identity)
    part10 = path.read_bytes()
    path.unlink()
    acts: dict[str, Callable[[], object]] = {
        "ours": lambda: scan_header(data_set, len(data_set), template.transfer_syntax_uid),
        "pydicom": lambda: _by_pydicom(part10),
    }
    elements = _agreed_elements(template, data_set, part10)
    found: dict[str, list[float]] = {name: [] for name in acts}
    for name in alternating(list(acts), bench.rounds):
        found[name].append(_milliseconds(acts[name]))
        bench.pace.advance(TURN_S)
    ours, theirs = tuple(found["ours"]), tuple(found["pydicom"])
    note = f"{elements} top-level elements of a CT of {len(data_set):,} bytes"
    return Measured(
        samples={
            "scan.header": Samples(ours, note=note),
            "scan.header.pydicom": Samples(ours, theirs, note),
        }
    )


def _agreed_elements(template: Template, data_set: bytes, part10: bytes) -> int:
    scanned = scan_header(data_set, len(data_set), template.transfer_syntax_uid)
    ours = json.loads(scanned.header_json)
    theirs = json.loads(json.dumps(_by_pydicom(part10)))
    if ours.keys() != theirs.keys():
        differing = sorted(ours.keys() ^ theirs.keys())[:5]
        raise FatalError(f"scanning: pydicom finds other elements: {', '.join(differing)}")
    return len(ours)


def _by_pydicom(part10: bytes) -> dict[str, object]:
    return dcmread(io.BytesIO(part10)).to_json_dict(
        bulk_data_threshold=_BULK_BYTES, bulk_data_element_handler=_no_bulk_data
    )


def _no_bulk_data(element: DataElement) -> str:
    return f"?length={len(element.value)}"


def _milliseconds(act: Callable[[], object]) -> float:
    count, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < TURN_S or not count:
        act()
        count += 1
    return seconds / count * 1e3
