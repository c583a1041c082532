"""What a machine can check of STYLE.md, and that the checks can fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.schema_catalog import versions_by_id
from infra.metric_list import METRICS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("contracts", "infra", "edge_gateway", "consumers", "operations", "load", "tests")
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
LINE_CHARACTERS_MAX = 100
POSITIONAL_MAX = 5

# Who may import whom (ARCHITECTURE.md): a package may import itself and what is listed.
MAY_IMPORT = {
    "contracts": set(),
    "infra": {"contracts"},
    "edge_gateway": {"contracts", "infra"},
    "consumers": {"contracts", "infra"},
    "operations": {"contracts", "infra", "edge_gateway", "consumers"},
    "load": {"contracts", "infra", "edge_gateway", "consumers", "operations"},
    "tests": {"contracts", "infra", "edge_gateway", "consumers", "operations", "load"},
}
# The one package that may import a client library.
OWNER = {
    "kafka": "infra",
    "minio": "infra",
    "clickhouse_connect": "infra",
    "urllib3": "infra",
    "chdb": "infra",
    "pynetdicom": "edge_gateway",
}
BANNED_MODULES = {"utils", "helpers", "common", "misc", "base", "manager"}
# identifier → what to say instead
BANNED_WORDS = {
    "image_id": "sop_instance_uid",
    "dataset_bytes": "size_bytes",
    "msg_id": "delivery_id",
}
BROAD_EXCEPT_IN = {
    "consumers/runner.py",
    "consumers/__main__.py",
    "edge_gateway/__main__.py",
    "edge_gateway/store_intake.py",
    "infra/schema_registry.py",
    "infra/engines",
    "operations/packs/keeper.py",
}
POLL_IN = {
    "consumers/runner.py",
    "consumers/gather.py",
    "infra/",
    "edge_gateway/spool",
    "edge_gateway/association",  # poll(2) over sockets
    "tests/",
    "edge_gateway/centre.py",
    # Follows topics from outside any group, reads a spool in place of its forwarder, and asks
    # child processes whether they run.
    "load/",
}


def python_files(*packages: str) -> list[Path]:
    return [
        path
        for package in packages or PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imported_packages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def import_faults(path: str, source: str) -> list[str]:
    package = path.split("/")[0]
    faults = []
    for line, name in imported_packages(ast.parse(source)):
        if name in MAY_IMPORT and name != package and name not in MAY_IMPORT[package]:
            faults.append(f"{path}:{line}: {package} must not import {name}")
        owner = OWNER.get(name)
        if owner and package not in (owner, "tests", "load"):
            faults.append(f"{path}:{line}: only {owner} imports {name}")
        if name == "mock" or "unittest" in name:
            faults.append(f"{path}:{line}: no mocks: run the real part")
    return faults


def size_faults(path: str, source: str) -> list[str]:
    lines = source.splitlines()
    faults = [
        f"{path}:{number}: {len(line)} characters"
        for number, line in enumerate(lines, 1)
        if len(line) > LINE_CHARACTERS_MAX
    ]
    if len(lines) > MODULE_LINES_MAX:
        faults.append(f"{path}: {len(lines)} lines, {MODULE_LINES_MAX} at most")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                faults.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
            positional = [a for a in node.args.args if a.arg not in ("self", "cls")]
            # pytest hands fixtures over by name: a test's parameters are not an interface
            is_free = path.startswith("tests/") or _is_command(node)
            if len(positional) > POSITIONAL_MAX and not is_free:
                faults.append(f"{path}:{node.lineno}: {node.name} takes {len(positional)}")
    return faults


def _is_command(node: ast.FunctionDef) -> bool:
    """A CLI command's parameters are its options, passed by typer by name."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def broad_except_faults(path: str, source: str) -> list[str]:
    if any(path.startswith(allowed) for allowed in BROAD_EXCEPT_IN):
        return []
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and (
            node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        ):
            faults.append(f"{path}:{node.lineno}: name the exceptions")
    return faults


def call_faults(path: str, source: str) -> list[str]:
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        bare_commit = node.func.attr == "commit" and not node.args and not node.keywords
        if bare_commit and path.startswith("consumers/"):
            faults.append(f"{path}:{node.lineno}: commit names explicit offsets")
        if node.func.attr == "poll" and not any(path.startswith(p) for p in POLL_IN):
            faults.append(f"{path}:{node.lineno}: .poll() belongs to the runner and infra")
    return faults


def test_imports_go_one_way() -> None:
    faults = [f for p in python_files() for f in import_faults(relative(p), p.read_text())]
    assert not faults, "\n".join(faults)


def test_sizes_stay_readable() -> None:
    faults = [f for p in python_files() for f in size_faults(relative(p), p.read_text())]
    assert not faults, "\n".join(faults)


def test_broad_excepts_stand_only_where_style_allows() -> None:
    files = python_files(*(p for p in PACKAGES if p != "tests"))
    faults = [f for p in files for f in broad_except_faults(relative(p), p.read_text())]
    assert not faults, "\n".join(faults)


def test_polls_and_commits_stand_only_where_style_allows() -> None:
    faults = [f for p in python_files() for f in call_faults(relative(p), p.read_text())]
    assert not faults, "\n".join(faults)


def test_module_names_say_what_is_in_them() -> None:
    bad = [relative(p) for p in python_files() if p.stem in BANNED_MODULES]
    assert not bad


def test_every_module_says_its_purpose() -> None:
    missing = [
        relative(path)
        for path in python_files()
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not missing


def test_no_banned_words() -> None:
    faults = [
        f"{relative(path)}: {word} → {instead}"
        for path in python_files(*(p for p in PACKAGES if p != "tests"))
        for word, instead in BANNED_WORDS.items()
        if re.search(rf"\b{word}\b", path.read_text())
    ]
    assert not faults


def test_every_metric_is_listed_and_used() -> None:
    sources = "\n".join(p.read_text() for p in python_files() if p.name != "metric_list.py")
    unused = [metric.name for metric in METRICS if f'"{metric.name}"' not in sources]
    assert not unused, f"listed and never set: {unused}"


def test_every_schema_file_belongs_to_an_event() -> None:
    files = sorted((ROOT / "contracts" / "schemas").glob("*.avsc"))
    assert len(files) == len(versions_by_id())


def test_documents_name_no_place_of_one_machine() -> None:
    files = [*python_files(), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pattern = re.compile(r"/(root|home|work)/|TODO|FIXME")
    bad = [relative(p) for p in files if p != Path(__file__) and pattern.search(p.read_text())]
    assert not bad


def test_enough_files_are_checked() -> None:
    counts = {package: len(python_files(package)) for package in MAY_IMPORT}
    print(f"tidy checked {sum(counts.values())} files: {counts}")
    assert all(counts[p] >= 5 for p in PACKAGES if p != "load")


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (import_faults, "contracts/x.py", "import infra.broker"),
        (import_faults, "consumers/x.py", "from kafka import KafkaConsumer"),
        (import_faults, "edge_gateway/x.py", "from consumers import runner"),
        (import_faults, "tests/x.py", "from unittest import mock"),
        (size_faults, "infra/x.py", "x = 1\n" * 301),
        (size_faults, "infra/x.py", "def f():\n" + "    x = 1\n" * 61),
        (size_faults, "infra/x.py", "def f(a, b, c, d, e, g): ...\n"),
        (size_faults, "infra/x.py", "x = '" + "y" * 100 + "'"),
        (broad_except_faults, "infra/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
        (broad_except_faults, "infra/x.py", "try:\n    f()\nexcept:\n    pass"),
        (call_faults, "consumers/x.py", "consumer.commit()"),
        (call_faults, "edge_gateway/x.py", "consumer.poll(100)"),
    ],
)
def test_the_checks_can_fail(check: object, path: str, source: str) -> None:
    assert callable(check) and check(path, source)
