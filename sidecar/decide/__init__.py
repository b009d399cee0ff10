"""The decision: pure stages over a parsed call, in a fixed order.

:func:`plan` settles what can be settled without reading the prompt;
:func:`choose` settles the rest, with a reading or without one. Neither does
I/O, so serving, ``explain`` and simulation decide with the same code.
"""

from sidecar.decide.stages import Question, choose, fall_back, plan
from sidecar.decide.view import EMPTY, View

__all__ = ["EMPTY", "Question", "View", "choose", "fall_back", "plan"]
