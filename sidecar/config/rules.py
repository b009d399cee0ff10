"""Rules as they are judged: patterns compiled, time zones looked up."""

from __future__ import annotations

from datetime import time
from typing import Final
from zoneinfo import ZoneInfo

from sidecar.config import patterns, schema
from sidecar.config.snapshot import RuleSpec, Window

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def compiled(rule: schema.Rule) -> RuleSpec:
    """``rule`` compiled; its patterns and its zone were checked with the file's shape."""
    when = rule.when
    return RuleSpec(
        name=rule.name,
        when=when,
        model=rule.model,
        needs_reading=bool(when.task or when.domain or when.tier),
        patterns=tuple(patterns.compiled(text) for text in when.regex),
        window=_window(when.time) if when.time else None,
        # header names have no case
        headers=tuple((name.lower(), values) for name, values in when.headers.items()),
    )


def _window(section: schema.TimeWindow) -> Window:
    return Window(
        days=frozenset(map(DAYS.index, section.days)),
        start=time.fromisoformat(section.start),
        end=time.fromisoformat(section.end),
        zone=ZoneInfo(section.zone),
    )
