"""The fault matrix names tests that exist, and the page is what its generator makes."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.matrix import MATRIX
from tests.faults.recording import read_recorded
from tests.faults.reliability import NO_TEST, PAGE, page

ROOT = Path(__file__).resolve().parents[2]
NAMED = sorted({test for row in MATRIX for test in row.tests + row.soak})


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Every test function of a module, `Class::name` where it stands in a class."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (item for item in node.body if isinstance(item, ast.FunctionDef))
            found |= {f"{node.name}::{item.name}" for item in inner}
    return frozenset(found)


def is_soak(test: str) -> bool:
    """Whether a test runs with `--soak` only."""
    path, _, name = test.partition("::")
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return any("mark.soak" in ast.unparse(mark) for mark in node.decorator_list)
    return False


@pytest.mark.parametrize("test", NAMED)
def test_a_named_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file() and name.startswith(("test_", "Test"))
    assert name in functions_of(ROOT / path)


def test_rows_are_told_apart_and_long_tests_are_marked() -> None:
    numbers = [row.number for row in MATRIX]
    assert len(numbers) == len(set(numbers))
    long = {test for row in MATRIX for test in row.soak}
    assert {test for test in long if is_soak(test)} == long
    assert not any(is_soak(test) for row in MATRIX for test in row.tests)


def test_the_page_is_what_the_matrix_and_the_recorded_runs_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "docs/reliability.md is old: run `python -m tests.faults.reliability`"
    )
    untested = [row for row in MATRIX if not row.tests and not row.soak]
    assert page().count(NO_TEST) == len(untested)


def test_only_named_tests_are_recorded() -> None:
    assert set(read_recorded()) <= set(NAMED)
