"""One call to one upstream, and what may stand around it: the check of its answer, a hedge."""
