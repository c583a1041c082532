"""From a plan on paper to what senders take: templates, identities, options.

Invariant: identities are of one seed and unique in the plan; bytes are counted before anything is
sent. It must not connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contracts.failures import FatalError
from load.arrival import LanePlan, Plan
from load.scenario import Scenario
from load.senders import LeanOptions, Planned, Target
from load.stages.whole_way import LANES_MAX, Lane
from load.studies import Identity, Template, templates

# An open loop may run over its time by the answers that are still out.
GRACE_S = 60.0
_SERIES = 0

Templates = Mapping[tuple[str, str], Template]


def templates_of(lanes: Sequence[LanePlan], cache: Path) -> Templates:
    """One template for each kind and compression of the lanes. Raises FatalError."""
    wanted = sorted({(lane.modality.kind, lane.modality.compression) for lane in lanes})
    return {
        (kind, compression): templates(kind, compression, cache=cache)
        for kind, compression in wanted
    }


def bytes_of(lane: LanePlan, made: Templates) -> int:
    """Bytes of all data sets that a lane sends."""
    return lane.instances * len(template_of(lane, made).data_set)


def template_of(lane: LanePlan, made: Templates) -> Template:
    """The template that a lane sends."""
    return made[lane.modality.kind, lane.modality.compression]


def require_within(scenario: Scenario, planned: Plan, made: Templates) -> int:
    """The bytes of the plan. Raises FatalError for none, or for more than the scenario admits."""
    if not planned.instances:
        raise FatalError(
            f"the scenario {scenario.name!r} sends nothing: no study arrives in its hours",
            "give it more --hours or a higher --rate-factor",
        )
    if len(planned.lanes) > LANES_MAX:
        raise FatalError(
            f"the scenario {scenario.name!r} has {len(planned.lanes)} modalities",
            f"at most {LANES_MAX} can send at once: leave some out",
        )
    total = sum(bytes_of(lane, made) for lane in planned.lanes)
    if total > scenario.bytes_max:
        raise FatalError(
            f"the scenario {scenario.name!r} sends {total / 1e9:.1f} GB, "
            f"more than its bytes_max of {scenario.bytes_max / 1e9:.1f} GB",
            "lower --instances-max, or raise bytes_max in its file",
        )
    return total


def senders(
    scenario: Scenario,
    planned: Plan,
    made: Templates,
    target_of: Callable[[LanePlan], Target],
    identity_seed: int,
) -> list[Lane]:
    """What each lane of the plan hands to its sender."""
    return [
        Lane(
            target_of(lane),
            _instances(lane, template_of(lane, made), identity_seed),
            LeanOptions(
                associations=lane.modality.associations,
                window=lane.modality.window,
                seconds_max=scenario.seconds_max + GRACE_S,
            ),
        )
        for lane in planned.lanes
    ]


def _instances(lane: LanePlan, template: Template, identity_seed: int) -> list[Planned]:
    return [
        Planned(template, Identity(identity_seed, study.number, _SERIES, index), due_s)
        for study, index, due_s in lane.due_times()
    ]
