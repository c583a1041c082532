"""A scenario: which sites send what, how much of it and when, as a TOML file says it.

Invariant: a scenario is closed (an unknown key is an error that names the nearest one) and
bounded in instances, bytes and seconds whatever its file says. It must not draw or send anything.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from contracts.failures import FatalError
from infra.settings_errors import explain
from infra.settings_section import Section
from load.studies import KINDS

BOX = Path(__file__).parent / "scenarios"
INSTANCES_MAX = 200_000
BYTES_MAX = 64 * 1024**3
SECONDS_MAX = 3600
HOURS_A_DAY = 24


class Modality(Section):
    """A device, or several alike, at one site.

    `studies_per_hour` is for the open loop (of the scenario's own day), `studies` for the closed
    one. `instances` is the least and most of a study. `instances_per_s` is how fast the device
    puts a study on the wire; it is not compressed with the day. Whether the kind knows the
    `compression` is said when templates are made, before anything is sent.
    """

    kind: str
    compression: str = "none"
    studies_per_hour: float = Field(default=0.0, ge=0, le=100_000)
    studies: int = Field(default=0, ge=0, le=100_000)
    instances: tuple[int, int] = (1, 1)
    instances_per_s: float = Field(default=50.0, gt=0, le=10_000)
    associations: int = Field(default=1, ge=1, le=64)
    window: int = Field(default=1, ge=1, le=256)

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(KINDS)}"
            raise ValueError(f"no kind {kind!r}; {hint}")
        return kind

    @model_validator(mode="after")
    def _holds_together(self) -> Modality:
        least, most = self.instances
        if not 1 <= least <= most <= INSTANCES_MAX:
            raise ValueError(f"instances are least and most, 1 to {INSTANCES_MAX}")
        return self


class Site(Section):
    """A hospital or practice. `gateway`: which one it sends to; round robin where it says none."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,10}$")
    gateway: str | None = None
    modalities: tuple[Modality, ...] = Field(max_length=16)


class Scenario(Section):
    """What is sent. In the open loop rates hold whatever the answers take: `hours` from
    `start_hour` on, played `compress_time` times as fast; `day` weighs each hour of the day
    (1 = the rates as they stand). In the closed loop each association sends its next instance
    when the last one was answered.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    title: str
    seed: int = Field(default=1, ge=0, lt=10**8)
    mode: Literal["open", "closed"]
    arrival: Literal["poisson", "even"] = "poisson"
    start_hour: float = Field(default=8.0, ge=0, lt=HOURS_A_DAY)
    hours: float = Field(default=1.0, gt=0, le=HOURS_A_DAY)
    compress_time: float = Field(default=1.0, ge=1, le=86_400)
    day: tuple[float, ...] = (1.0,) * HOURS_A_DAY
    instances_max: int = Field(default=5_000, ge=1, le=INSTANCES_MAX)
    bytes_max: int = Field(default=4 * 1024**3, ge=1, le=BYTES_MAX)
    seconds_max: float = Field(default=120.0, gt=0, le=SECONDS_MAX)
    sites: tuple[Site, ...] = Field(max_length=64)

    @property
    def seconds(self) -> float:
        """How long the open loop plays."""
        return self.hours * 3600 / self.compress_time

    @model_validator(mode="after")
    def _holds_together(self) -> Scenario:
        if len(self.day) != HOURS_A_DAY or min(self.day) < 0:
            raise ValueError(f"day has {HOURS_A_DAY} weights, none below 0")
        if not any(site.modalities for site in self.sites):
            raise ValueError("nothing is sent: name sites with modalities")
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("two sites have the same name")
        wanted = "studies_per_hour" if self.mode == "open" else "studies"
        for site in self.sites:
            for modality in site.modalities:
                if not getattr(modality, wanted):
                    raise ValueError(
                        f"{site.name}/{modality.kind} has no {wanted}, "
                        f"which a scenario of mode {self.mode!r} needs"
                    )
        if self.mode == "open" and self.seconds > self.seconds_max:
            raise ValueError(
                f"{self.hours:g} hours at compress_time {self.compress_time:g} take "
                f"{self.seconds:.0f} s, more than seconds_max {self.seconds_max:g}"
            )
        return self


def scenario_names() -> tuple[str, ...]:
    """The scenarios in the box."""
    return tuple(sorted(path.stem for path in BOX.glob("*.toml")))


def read_scenario(name: str) -> Scenario:
    """A scenario of the box by name, or any TOML file by its path.

    Raises FatalError: no such scenario (names the nearest), not TOML, or not valid (every
    problem with its key).
    """
    path = BOX / f"{name}.toml" if name in scenario_names() else Path(name)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        near = difflib.get_close_matches(name, scenario_names(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FatalError(
            f"no scenario {name!r}",
            f"{hint}there is: {', '.join(scenario_names())}, or name a TOML file",
        ) from cause
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise FatalError(f"reading the scenario {path}: {cause}", "correct the file") from cause
    return parse_scenario(tree, str(path.name))


def parse_scenario(tree: object, source: str) -> Scenario:
    """A scenario from plain values. Raises FatalError as `read_scenario` does."""
    try:
        return Scenario.model_validate(tree)
    except ValidationError as cause:
        problems = explain(cause, Scenario)
        raise FatalError(
            f"{len(problems)} problem(s) in the scenario {source}:\n  " + "\n  ".join(problems),
            "correct them and start again",
        ) from cause


def changed(
    scenario: Scenario,
    *,
    hours: float | None = None,
    rate_factor: float = 1.0,
    instances_max: int | None = None,
    seed: int | None = None,
) -> Scenario:
    """The scenario as the command line changes it; checked again. Raises FatalError."""
    tree = scenario.model_dump()
    given = {"hours": hours, "instances_max": instances_max, "seed": seed}
    tree.update({key: value for key, value in given.items() if value is not None})
    if hours is not None and scenario.mode == "closed":
        raise FatalError(
            f"{scenario.name} is a closed loop: it has no hours",
            "use --rate-factor or --instances-max",
        )
    if hours is not None:
        # More hours take longer; the scenario's own bound is for its own hours.
        needed = hours * 3600 / scenario.compress_time
        tree["seconds_max"] = max(scenario.seconds_max, needed)
    if rate_factor != 1.0:
        for site in tree["sites"]:
            for modality in site["modalities"]:
                modality["studies_per_hour"] *= rate_factor
                modality["studies"] = round(modality["studies"] * rate_factor)
    return parse_scenario(tree, scenario.name)
