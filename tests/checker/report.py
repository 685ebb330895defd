"""What the checker found: all broken rules of one check, in the order in which they were met."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 50


class BrokenRules(AssertionError):
    """An image breaks rules; `rules` has one line for each."""

    def __init__(self, rules: tuple[str, ...]) -> None:
        super().__init__("\n".join(("the image breaks the rules:", *rules[:_MOST])))
        self.rules = rules


@dataclass(slots=True)
class Report:
    """Collects what is wrong. A check that cannot go on after a broken rule returns, and the others do."""

    rules: list[str] = field(default_factory=list)

    def hold(self, claim: object, where: str, rule: str) -> bool:
        """Note the rule as broken unless the claim is true; the claim as a boolean."""
        if not claim:
            self.rules.append(f"{where}: {rule}")
        return bool(claim)

    def finish(self) -> None:
        """Raises BrokenRules when something was noted."""
        if self.rules:
            raise BrokenRules(tuple(self.rules))
