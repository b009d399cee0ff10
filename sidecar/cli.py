"""The ``sidecar`` command: one subcommand a module under :mod:`sidecar.commands`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from sidecar import __version__
from sidecar.errors import ConfigError, SidecarError

# In the order of the help: serving first, then what explains it, then offline work.
_COMMANDS: Final = (
    "serve",
    "demo",
    "check",
    "explain",
    "report",
    "score",
    "fit",
    "eval",
    "calibrate",
    "simulate",
    "library",
    "ensemble",
    "bench",
    "inject",
)


def parser(commands: Sequence[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The command line, with the subcommands named."""
    root = argparse.ArgumentParser(
        prog="sidecar",
        description="Send every LLM call to the cheapest model that will still answer it well.",
    )
    root.add_argument("--version", action="version", version=f"sidecar {__version__}")
    subparsers = root.add_subparsers(metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(f"sidecar.commands.{name}").register(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0 is success, 1 a failure, 2 bad input, 130 an interrupt."""
    words = sys.argv[1:] if argv is None else list(argv)
    # a command that is named need not wait for the others to be imported
    named = words[:1] if words and words[0] in _COMMANDS else _COMMANDS
    if not words:
        parser().print_help(sys.stderr)
        return 2
    args = parser(named).parse_args(words)
    try:
        return int(args.func(args))
    except ConfigError as exc:
        for fault in exc.faults:
            print(fault, file=sys.stderr)
        return 2
    except SidecarError as exc:
        print(f"sidecar: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
