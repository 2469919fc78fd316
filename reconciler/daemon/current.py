"""Whether a plan is of a commit that is current, or of one that was long ago when somebody else went on from there.

A daemon that stood by has what it fetched when it began to, and an apply by hand may be ahead of the next look at Git:
to do such a plan would be to go back. Knows commits alone; what a branch that was really rewound means is in the plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import Plan
from reconciler.model.source import Revision
from reconciler.ports import Source

PATIENCE_S = 10.0
"""So long a pass waits for the repository to be asked; after that it fails, and is tried again as any that fails."""


class SourceBehind(ReconcilerError):
    """The fleet was brought to a commit that is not here, and the repository has not said yet that it is none."""


@dataclass(slots=True)
class Fetches:
    """Counts how often the source was brought up to date, for who has to know that it was since something."""

    begun: int = 0
    """The number of the one that began last."""
    _ended: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> int:
        """One begins; answers its number."""
        self.begun += 1
        return self.begun

    def end(self, number: int) -> None:
        """It has ended, and well."""
        self._ended = number
        self._news.set()

    async def after(self, number: int, within_s: float) -> bool:
        """Wait for one that began after that of a number; whether it ended within so many seconds."""
        wanted = number + 1
        try:
            async with asyncio.timeout(within_s):
                while self._ended < wanted:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True


@dataclass(slots=True, kw_only=True)
class Current:
    """Holds plans against the commit on record. `ask` has the source brought up to date, which `fetches` counts."""

    source: Source
    fetches: Fetches
    ask: Callable[[], None]
    _rewound: str = ""
    """A commit on record that is not among ours, and of which the repository knew nothing either when it was asked."""
    _missed: tuple[str, int] = ("", 0)
    """A commit on record that was found not to be here, and which fetch had begun last by then."""

    async def holds(self, plan: Plan) -> bool:
        """Whether a plan may be done; False where the repository was asked meanwhile: plan again.

        Raises SourceBehind where it could not be asked.
        """
        known, here = plan.on_record, plan.revision
        if known in {"", here.commit, self._rewound}:
            return True
        if not here.commit or here.working_tree or await self.source.is_ancestor(Revision(commit=known), here):
            return True
        if self._missed[0] != known:
            self._missed = known, self.fetches.begun
        self.ask()
        if not await self.fetches.after(self._missed[1], PATIENCE_S):
            raise SourceBehind(
                f"the fleet was brought to commit {known[:7]}, which is not known here, and the repository does not "
                "answer: nothing is changed, for that would be to go back",
                hint="see that the repository can be reached from here",
            )
        self._rewound = known
        return False
