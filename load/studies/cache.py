"""Templates on disk: made once, then read, shared by all runs and processes of a user.

Invariant: a file is complete or absent (written apart, then renamed); one that cannot be read back
is made anew. It must not hold templates in memory that nobody uses.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from contracts.failures import RetryableError
from load.studies.identity import Place
from load.studies.template import Template

_MAGIC = "hilum-load-template"
_HEAD_BYTES_MAX = 64 * 1024


def default_cache() -> Path:
    """`hilum/load` in the user's cache directory (XDG base directories)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return root / "hilum" / "load"


def read_template(path: Path) -> Template | None:
    """What `write_template` wrote, or None where there is no whole file."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(_HEAD_BYTES_MAX))
            data_set = file.read()
        if head["magic"] != _MAGIC or head["size_bytes"] != len(data_set):
            return None
        return Template(
            kind=head["kind"],
            modality=head["modality"],
            sop_class_uid=head["sop_class_uid"],
            transfer_syntax_uid=head["transfer_syntax_uid"],
            data_set=data_set,
            places=tuple((Place(p), offset, length) for p, offset, length in head["places"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_template(path: Path, template: Template) -> None:
    """The template stands whole at `path`, whoever writes the same at the same time.

    Raises RetryableError where the disk does not take it.
    """
    head = {
        "magic": _MAGIC,
        "size_bytes": len(template.data_set),
        "kind": template.kind,
        "modality": template.modality,
        "sop_class_uid": template.sop_class_uid,
        "transfer_syntax_uid": template.transfer_syntax_uid,
        "places": template.places,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".making-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(head).encode("ascii") + b"\n")
                file.write(template.data_set)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as cause:
        raise RetryableError(f"caching a template as {path}: {cause}") from cause
