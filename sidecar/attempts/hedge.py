"""A start that is slow: the next address is asked beside it, and the first to begin is taken.

Whoever loses is let go of at once and noted, for its upstream may charge for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from sidecar.attempts.attempt import Attempt, Step
from sidecar.attempts.trial import Trial


async def hedged(first: Step, steps: Iterator[Step], trial: Trial) -> Attempt | None:
    """The first to begin of ``first`` and, where it is slow to, of those after it."""
    running = {asyncio.ensure_future(trial.of(first)): first}
    slow_s = first.spec.hedge_after_s  # until another is asked beside those
    due: Step | None = None  # that other, where it must not be asked yet
    winner: Attempt | None = None
    try:
        try:
            while winner is None and (running or due is not None):
                done = await _any_of(running, slow_s)
                for task in done:
                    step, attempt = running.pop(task), task.result()
                    if attempt is not None and winner is not None:
                        trial.overtaken(step, attempt)  # as good, and a moment later
                    winner = winner or attempt
                if done:
                    continue
                after = due or next(steps, None)
                if after is None:
                    slow_s = None
                elif after.wait_s and due is None:
                    due, slow_s = after, after.wait_s
                else:
                    due, slow_s = None, after.spec.hedge_after_s
                    running[asyncio.ensure_future(trial.of(after))] = after
        finally:
            _let_go(running, trial)
            await asyncio.gather(*running, return_exceptions=True)
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    return winner and replace(winner, failures=tuple(trial.failures))


async def _any_of(
    running: Collection[asyncio.Task[Attempt | None]], timeout_s: float | None
) -> set[asyncio.Task[Attempt | None]]:
    """Those that are over as soon as one is; none where none is in time."""
    if not running:
        await asyncio.sleep(timeout_s or 0.0)
        return set()
    done, _ = await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return done


def _let_go(running: Mapping[asyncio.Task[Attempt | None], Step], trial: Trial) -> None:
    """Stop what still runs, and close what began just as the caller left."""
    for task, step in running.items():
        if not task.done():
            task.cancel()
            trial.overtaken(step)
        elif not task.cancelled() and task.exception() is None:
            attempt = task.result()
            if attempt is not None:
                trial.overtaken(step, attempt)
