"""What the process remembers from one request to the next, one kind a module.

A kind of memory is asked before a decision (it gives a frozen part of the
:class:`~sidecar.decide.view.View`) and told after an answer. It is bounded, and
whatever goes wrong in it costs no request: an empty view is always a legal one.
"""
