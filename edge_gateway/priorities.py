"""Which deliveries go first, by who sent them and what they are.

Invariant: the first rule that fits decides, and what no rule names has the usual priority. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.modalities import modality_of
from infra.settings_forwarding import PRIORITY_USUAL, PriorityRule


@dataclass(frozen=True, slots=True)
class Priorities:
    """The rules of one gateway, in their order."""

    rules: tuple[PriorityRule, ...] = ()

    def of(self, calling_ae_title: str, sop_class_uid: str) -> int:
        """1 goes first, 9 last."""
        modality = modality_of(sop_class_uid) if self.rules else ""
        for rule in self.rules:
            is_caller = rule.calling_ae_title.strip() in ("*", calling_ae_title)
            if is_caller and rule.modality in (None, modality):
                return rule.priority
        return PRIORITY_USUAL


NO_PRIORITIES = Priorities()
