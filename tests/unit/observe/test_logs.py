"""The process's log: text or JSON, and never the words of an exception."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import orjson
import pytest

from sidecar.config.schema import Log
from sidecar.observe.logs import Json, Text, configure


def record(message: str, *args: object) -> logging.LogRecord:
    try:
        raise ValueError("the prompt was: my secret")
    except ValueError:
        return logging.LogRecord(
            "sidecar.x", logging.ERROR, "x.py", 1, message, args, sys.exc_info()
        )


def test_json_is_one_object_a_line_whatever_is_said() -> None:
    line = Json().format(record('a "quoted"\nand broken %s', "line"))
    assert "\n" not in line
    said = orjson.loads(line)
    assert said.keys() == {"time", "level", "logger", "message", "error"}
    assert (said["level"], said["logger"]) == ("error", "sidecar.x")
    assert said["message"] == 'a "quoted"\nand broken line'
    assert said["time"].endswith("+00:00")


@pytest.mark.parametrize("formatter", [Json(), Text()])
def test_an_exception_is_told_by_type_and_place_and_not_in_its_words(
    formatter: logging.Formatter,
) -> None:
    line = formatter.format(record("it failed"))
    assert "ValueError" in line
    assert "test_logs.py" in line
    assert "secret" not in line


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_the_level_and_the_format_are_the_configured_ones(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(Log(format="json", level="warning"))
    logging.getLogger("sidecar.x").info("not this")
    logging.getLogger("sidecar.x").warning("this")
    configure()
    logging.getLogger("sidecar.x").info("and this")
    first, second = capsys.readouterr().err.splitlines()
    assert orjson.loads(first)["message"] == "this"
    assert second.endswith("INFO sidecar.x: and this")
