"""One run: steps by chance from a seed, quiet periods between them, and what is told when a law breaks."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine import operate
from reconciler.model.errors import ReconcilerError
from tests.doubles.simulated_time import SimulatedLoop
from tests.simulation import laws
from tests.simulation.steps import STEPS, Step
from tests.simulation.world import Broken, World, chances, made

MEMORY = Path("/dev/shm")
QUIET_EVERY = 100
"""Steps from one quiet period to the next, on average."""
TRACE = 80
MOST_TASKS = 26
"""Of a daemon that rests."""


@dataclass(slots=True)
class Run:
    """What a run did. `digest` is of its trace: two runs of one seed have the same."""

    seed: int
    steps: int = 0
    quiet: int = 0
    simulated_s: float = 0.0
    longest_rest_s: float = 0.0
    changes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    failure: str = ""
    _digest: str = ""

    def note(self, text: str) -> None:
        self._digest = hashlib.sha256(f"{self._digest}{text}".encode()).hexdigest()
        self.trace.append(text)
        del self.trace[:-TRACE]

    @property
    def digest(self) -> str:
        return self._digest[:12]


def simulate(seed: int, steps: int, *, only: Sequence[Step] = ()) -> Run:
    """Run `steps` steps of `seed`. Never raises for a law that broke: that is in the answer."""
    run = Run(seed)
    memory = MEMORY if MEMORY.is_dir() else None
    loop = SimulatedLoop()
    with tempfile.TemporaryDirectory(dir=memory) as folder, chances(seed) as chance, _warned(loop):
        gc.disable()  # walking all of it takes a tenth of the time, and little of it is garbage
        asyncio.set_event_loop(loop)
        world = loop.run_until_complete(made(Path(folder), chance, run.lines))
        try:
            loop.run_until_complete(_all(world, run, steps, tuple(only) or tuple(STEPS)))
        except Exception as error:  # noqa: BLE001 - whatever it was is told with the seed
            run.failure = f"{type(error).__name__}: {error}" if not isinstance(error, Broken) else str(error)
        run.simulated_s = world.now
        run.changes = sum("change-ended" in line for line in run.lines)
        loop.run_until_complete(world.close())
        run.failure = run.failure or "; ".join(loop.failures)
    return run


@contextmanager
def _warned(loop: SimulatedLoop) -> Iterator[None]:
    """What Python warns of (a call that nobody waited for) is a failure like one that nobody caught."""

    def tell(message: Warning | str, category: type[Warning], *_where: object) -> None:
        loop.failures.append(f"{category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = tell  # type: ignore[assignment]
        yield


async def _all(world: World, run: Run, steps: int, kinds: tuple[Step, ...]) -> None:
    world.law, world.law_of_ladders = laws.on_write, True
    for _ in range(4):
        world.fleet.add()
    world.commit()
    world.start()
    weights = [STEPS[kind] for kind in kinds]
    while run.steps < steps:
        run.steps += 1
        (step,) = world.chance.choices(kinds, weights)
        told = await step(world)
        if told:
            run.kinds[step.__name__] += 1
            run.note(f"{run.steps:6d}  {world.now:12.3f} s  {told}")
        await asyncio.sleep(_pause(world))
        laws.told(world)
        if world.chance.random() < 1 / QUIET_EVERY:
            await _quiet(world, run)
    await _quiet(world, run)


def _pause(world: World) -> float:
    """Mostly things come thick; at times nothing happens for long."""
    kind = world.chance.random()
    mean = 0.3 if kind < 0.6 else 3 if kind < 0.85 else 40 if kind < 0.98 else 600
    return world.chance.expovariate(1 / mean)


async def _quiet(world: World, run: Run) -> None:
    """People mend what they broke, all lines are well: soon the fleet is as Git says, and then nothing moves."""
    run.quiet += 1
    gc.collect(1)
    world.calm()
    world.fleet.mend()
    commit = world.commit()
    if not world.daemons:
        world.start()
    run.note(f"{run.steps:6d}  {world.now:12.3f} s  quiet from {commit[:7]}")
    began = world.now
    await _come_to_rest(world, run)
    rested = world.now - began
    run.longest_rest_s = max(run.longest_rest_s, rested)
    await laws.at_rest(world)
    await _stay(world, run)
    laws.no_storm(world)
    laws.told(world)
    run.note(f"{run.steps:6d}  {world.now:12.3f} s  at rest after {rested:.0f} s")


async def _come_to_rest(world: World, run: Run) -> None:
    until = world.now + laws.REST_WITHIN_S
    calm = 0
    while True:
        await asyncio.sleep(laws.REST_STEP_S)
        laws.told(world)
        why = await laws.why_not_at_rest(world)
        calm = calm + 1 if not why else 0
        if calm > 1:
            return
        if world.now > until:
            raise Broken(f"not at rest after {laws.REST_WITHIN_S:.0f} s: {why}")
        if why.startswith(("held", "ill")) and (done := await _lifted(world)):
            run.note(f"{run.steps:6d}  {world.now:12.3f} s  {done}")


async def _lifted(world: World) -> str:
    """What is a person's to do: allow what is held, and try again what was quarantined while the world was ill."""
    done = await laws.lift_what_is_held(world)
    for name, record in (await world.snapshot()).records.items():
        if record.quarantine is not None or (record.recovery is not None and record.recovery.left):
            try:
                await operate.resume(world.hand, name)
            except ReconcilerError as error:
                done = f"{done} {name}: {error.message}".strip()
            else:
                done = f"{done} {name} resumed".strip()
    return done


async def _stay(world: World, run: Run) -> None:
    """Nothing moves while nothing is to do: no write, no task more than there was."""
    while (soon := await _scaling_ends(world)) is not None:
        run.note(f"{run.steps:6d}  {world.now:12.3f} s  waits for the end of a scaling by hand")
        await asyncio.sleep(soon + laws.RESYNC_S)
        await _come_to_rest(world, run)
    before = laws.state(world)
    usual = await _usual_tasks(world)
    after = laws.state(world)
    if before != after:
        raise Broken(f"something was written while nothing was to do: {before} -> {after}")
    many = {name: found for name, found in usual.items() if len(found) > MOST_TASKS}
    if many:
        raise Broken(f"too many tasks while nothing is to do: {many}")


async def _usual_tasks(world: World) -> dict[str, list[str]]:
    """Tasks by daemon as they are at most moments of an idle while: some come and go."""
    seen = []
    for _ in range(13):
        await asyncio.sleep(laws.IDLE_S / 13 + world.chance.random())
        seen.append(laws.tasks(world))
    return {name: sorted((each[name] for each in seen), key=len)[len(seen) // 2] for name in seen[0]}


async def _scaling_ends(world: World) -> float | None:
    """In how many seconds the last scaling by hand ends that ends soon; None where none does."""
    now = world.around.clock.now_ms()
    overrides = [record.override for record in (await world.snapshot()).records.values()]
    ends = [(item.until_ms - now) / 1000 for item in overrides if item is not None and item.until_ms > now]
    return max((end for end in ends if end < laws.IDLE_S + laws.RESYNC_S), default=None)
