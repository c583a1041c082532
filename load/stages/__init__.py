"""Every instance through every stage of a running stack, and what that costs.

Invariant: stages are told from events with the broker's times, costs from the kernel; nothing is
polled from the tables that are measured.
"""

from load.stages.events import Pack
from load.stages.lag import Waiting
from load.stages.resources import ProcessUse, ResourceUse
from load.stages.running import RunningStack, attached_stack, private_stack
from load.stages.timeline import BEFORE, STAGES, InstanceTimes, Stage, Timeline
from load.stages.whole_way import EVERYWHERE, Lane, StageRun, follow_lanes, whole_way

__all__ = [
    "BEFORE",
    "EVERYWHERE",
    "STAGES",
    "InstanceTimes",
    "Lane",
    "Pack",
    "ProcessUse",
    "ResourceUse",
    "RunningStack",
    "Stage",
    "StageRun",
    "Timeline",
    "Waiting",
    "attached_stack",
    "follow_lanes",
    "private_stack",
    "whole_way",
]
