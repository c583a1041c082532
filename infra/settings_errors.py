"""What is wrong with the settings, in words a person can act on.

Invariant: an unknown key is answered with the nearest known one; a secret's value never appears.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line a problem: the key's path and what to do."""
    return [
        _unknown_key(problem["loc"], model)
        if problem["type"] == "extra_forbidden"
        else f"{_path(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False)
    ]


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    owner = _model_at(location[:-1], model)
    known = sorted(owner.model_fields) if owner else []
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"{_path(location)}: unknown key; {hint}"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "settings"


def _model_at(location: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    pending: object = None
    for part in location:
        if pending is not None:  # an entry of a dict or list of sections: its key names nothing
            current, pending = next(_models_in(pending), None), None
            continue
        field = current.model_fields.get(str(part)) if current else None
        if field is None:
            return None
        if _is_container(field.annotation):
            pending = field.annotation
        else:
            current = next(_models_in(field.annotation), None)
    return current


def _is_container(annotation: object) -> bool:
    return typing.get_origin(annotation) in (dict, tuple, list)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)
