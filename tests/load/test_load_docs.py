"""What docs/load.md shows is what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import typer.main

from load.cli import app
from load.compare.goals import GOALS
from load.scenario import parse_scenario

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "load.md").read_text()


def test_every_command_that_is_named_exists_and_every_one_that_exists_is_named() -> None:
    group = typer.main.get_group(app)
    named = set(re.findall(r"\./hilum load ([a-z]+)", PAGE))
    assert named == set(group.commands)


def test_the_scenario_that_is_shown_is_valid() -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_scenario(tomllib.loads(shown), "docs/load.md").name == "my-practice"


def test_every_goal_of_the_comparison_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z.-]+)[.*<`]", PAGE, re.MULTILINE)
    assert [goal.name for goal in GOALS if not any(goal.name.startswith(row) for row in rows)] == []
