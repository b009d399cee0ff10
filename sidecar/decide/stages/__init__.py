"""The stages of a decision, in their order, one group a module.

:mod:`plan`: kill switch, explicit model, capability mask, rules that read nothing.
:mod:`choose`: with a reading, the rules that ask for one and the route's policy.
:mod:`question` is what passes from one to the other, and how a route falls back.

Each stage leaves a step in the chain of reasons, whether it decided or not. A
stage can only narrow or choose among the *capable* candidates: what a request
needs (tools, a schema, vision, room in the context) is a hard filter on every
path, the kill switch and the fallbacks included, because an answer without it
is not a cheaper answer but a wrong one.
"""

from sidecar.decide.stages.choose import choose
from sidecar.decide.stages.plan import plan
from sidecar.decide.stages.question import NO_ROUTE, Question, fall_back

__all__ = ["NO_ROUTE", "Question", "choose", "fall_back", "plan"]
