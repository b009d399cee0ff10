"""What ``--help`` says: every command, verb and argument is told in words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from sidecar.cli import main, parser


def commands(
    root: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of every command below ``root``."""
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, inner in action.choices.items():
                yield from commands(inner, f"{name} {verb}".strip())
        else:
            yield name, action


def described(root: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, str]]:
    """Every command that can be run, and what it says it does."""
    verbs = [a for a in root._actions if isinstance(a, argparse._SubParsersAction)]
    for action in verbs:
        for verb, inner in action.choices.items():
            yield from described(inner, f"{name} {verb}".strip())
    if not verbs:
        yield name, root.description or ""


def test_every_command_says_what_it_does() -> None:
    said = dict(described(parser()))
    assert len(said) >= 15
    assert [name for name, text in said.items() if len(text) < 50] == []


def test_every_argument_says_what_it_is() -> None:
    said = list(commands(parser()))
    assert len(said) > 60
    # those that say themselves what they are
    plain = {"json", "diff"}
    silent = [f"{name} {a.dest}" for name, a in said if not a.help and a.dest not in plain]
    assert silent == []


def test_nothing_typed_is_answered_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "serve until SIGTERM" in told
    assert "put the sidecar into Kubernetes pods" in told
