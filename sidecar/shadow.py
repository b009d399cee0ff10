"""What another route would have decided, worked out beside the request and acted on by nobody.

It costs the request nothing: a reading that the decision had is used again, one that
it did not need is asked for while the upstream answers, and the deciding itself is
done when the answer is over. What has no reading by then is counted as such.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, View, choose, plan
from sidecar.errors import ClassifierError, ClassifierLate, RequestError, trace
from sidecar.types import Call, Decision, Features, Reading

log = logging.getLogger("sidecar.shadow")

Read = Callable[[], Awaitable[Reading | ClassifierError]]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The decision of a shadow, or the code of the error that it would have been."""

    route: str
    decision: Decision | None
    error: str | None = None


class Shadow:
    """One request's shadow. :meth:`settle` must be called once."""

    __slots__ = ("_call", "_features", "_known", "_snapshot", "_task", "_view", "route")

    def __init__(
        self,
        route: str,
        call: Call,
        features: Features,
        *,
        known: Decision,
        snapshot: Snapshot,
        view: View,
        read: Read,
    ) -> None:
        self.route = route
        self._call = replace(call, model=route)
        self._features, self._snapshot, self._view = features, snapshot, view
        self._known = known.reading
        late = known.reason in {"deadline", "classifier-down"}
        wanted = self._known is None and not late and not features.empty
        self._task = asyncio.ensure_future(read()) if wanted else None

    def settle(self) -> WhatIf:
        """The decision as far as it can be known now. Never raises."""
        try:
            question = plan(self._call, self._features, self._snapshot, self._view)
            if isinstance(question, Question):
                verdict = self._verdict()
                question = choose(question, self._call, verdict, self._snapshot, self._view)
            return WhatIf(self.route, question)
        except RequestError as exc:
            return WhatIf(self.route, None, exc.code or "refused")
        except Exception as exc:
            log.error("the shadow's decision failed: %s", trace(exc))
            return WhatIf(self.route, None, "failed")
        finally:
            if self._task is not None and not self._task.done():
                self._task.cancel()

    def _verdict(self) -> Reading | ClassifierError:
        if self._known is not None:
            return self._known
        if self._task is not None and self._task.done() and not self._task.cancelled():
            return self._task.result()
        return ClassifierLate("there was no reading when the answer was over")
