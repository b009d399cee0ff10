"""The process's own log: lines of text, or one JSON object a line for a collector.

An exception is told by its type and place, as everywhere in the sidecar: its
words, and its traceback's, may quote a request.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

import orjson

from sidecar.config.schema import Log
from sidecar.errors import trace

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Text(logging.Formatter):
    """A line a record."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatException(self, ei: Raised) -> str:  # noqa: N802  # logging's name
        return trace(ei[1])

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return ""


class Json(logging.Formatter):
    """An object a record: ``time``, ``level``, ``logger``, ``message``, and ``error`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            said["error"] = trace(record.exc_info[1])
        return orjson.dumps(said, default=str).decode()


def configure(settings: Log | None = None) -> None:
    """Log to standard error as ``settings`` say, and nowhere else."""
    settings = settings or Log()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if settings.format == "json" else Text())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for noisy in ("urllib3", "asyncio"):  # which tell of every connection and of slow turns
        logging.getLogger(noisy).setLevel(logging.WARNING)
