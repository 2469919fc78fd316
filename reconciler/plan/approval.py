"""What a person may allow that a plan holds back: deletions, for exactly one commit and no more agents than were seen.

May live here: what can be approved, by which key, and whether an approval lifts a hold. Must not: read or write any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from reconciler.model.errors import UsageError
from reconciler.model.plan import Hold, HoldCode, Plan
from reconciler.model.registry import Approval
from reconciler.model.source import Revision

APPROVABLE = (HoldCode.DELETION_BUDGET, HoldCode.EMPTY_FLEET, HoldCode.REWIND)
"""Each covers those before it: who saw that the branch was rewound saw the deletions as well, and once the commit is on
record it is rewound no more.
"""

KEPT = 50
"""How many stand at once, so that the fleet's record stays small. Those of other commits give way to new ones."""


def key(hold: Hold, revision: Revision) -> str:
    """By what a hold is approved: another commit, reason or agent makes another key. "" for one that cannot be."""
    if hold.code not in APPROVABLE or not revision.commit or revision.working_tree:
        return ""
    said = "\n".join((revision.commit, hold.code.value, *map(str, hold.agents)))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def approvable(plan: Plan) -> dict[str, Hold]:
    """What of a plan can be approved, by key. Of a part of the fleet nothing can: more may be held in the whole."""
    if plan.partial:
        return {}
    return {found: hold for hold in plan.holds if (found := key(hold, plan.revision))}


def lifting(hold: Hold, revision: Revision, approvals: Iterable[Approval], now_ms: int) -> Approval | None:
    """The approval that lifts a hold: of its commit and reason or one that covers it, not over, and of all its agents.

    Of fewer agents than were approved it is lifted as well: some may have gone already.
    """
    if not key(hold, revision):
        return None
    for approval in approvals:
        if approval.commit == revision.commit and now_ms < approval.until_ms and _covers(approval, hold):
            return approval
    return None


def remembered(approvals: Iterable[Approval], made: Approval) -> tuple[Approval, ...]:
    """What is on record once `made` is: without what is over, and what `made` replaces.

    Raises UsageError where KEPT of its commit stand already: none that somebody counts on is dropped for another.
    """
    same = (made.commit, made.code, made.agents)
    standing = [one for one in approvals if one.until_ms > made.since_ms and (one.commit, one.code, one.agents) != same]
    of_it = [one for one in standing if one.commit == made.commit]
    if len(of_it) >= KEPT:
        raise UsageError(
            f"{KEPT} approvals of this commit stand already, and none of them is dropped for another",
            hint="apply what they allow first, or let one lapse",
        )
    others = [one for one in standing if one.commit != made.commit]
    return (*others[max(0, len(standing) + 1 - KEPT) :], *of_it, made)


def _covers(approval: Approval, hold: Hold) -> bool:
    codes = [code.value for code in APPROVABLE]
    covered = codes[: codes.index(approval.code) + 1] if approval.code in codes else []
    return hold.code.value in covered and set(hold.agents) <= set(approval.agents)
