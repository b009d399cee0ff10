"""What one pod asks for, in its labels and annotations.

A label switches on and off, because a webhook's selectors see labels only; an
annotation may switch off too, and says the rest. A value that cannot be used
leaves the pod alone with a sentence: half of what was asked is worse than nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from sidecar.errors import SidecarError
from sidecar.inject.settings import CONTAINER_NAME, OBJECT_NAME, PORTS, QUANTITY, Settings

PREFIX: Final = "pointsman.dev/"
INJECT: Final = f"{PREFIX}inject"  # on a namespace or a pod
INJECTED: Final = f"{PREFIX}injected"  # written by the webhook, and never read as a wish
_OFF: Final = frozenset({"disabled", "false", "no", "off"})


class LeftAlone(SidecarError):
    """Why a pod is not injected: ``reason`` is one of few words, the message a sentence.

    ``surprising`` where whoever made the pod may have expected otherwise.
    """

    def __init__(self, reason: str, message: str, *, surprising: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.surprising = surprising


@dataclass(frozen=True, slots=True)
class Wishes:
    """The settings for one pod: quantities as Kubernetes writes them, None for none."""

    config: str
    secret: str | None
    port: int
    cpu_request: str | None
    memory_request: str | None
    cpu_limit: str | None
    memory_limit: str | None
    skip: frozenset[str]
    unknown: tuple[str, ...] = ()  # annotations with our prefix that mean nothing


def wishes_of(
    labels: Mapping[str, str], annotations: Mapping[str, str], settings: Settings
) -> Wishes:
    """Merge a pod's annotations into the settings; :class:`LeftAlone` if it is off, or bad."""
    for where, values in (("label", labels), ("annotation", annotations)):
        if values.get(INJECT, "").lower() in _OFF:
            what = f"The {where} {INJECT}: {values[INJECT]} switches injection off."
            raise LeftAlone("disabled", what, surprising=False)
    given = {
        key.removeprefix(PREFIX): value.strip()
        for key, value in annotations.items()
        if key.startswith(PREFIX) and key not in {INJECT, INJECTED}
    }
    resources = settings.resources
    wishes = Wishes(
        config=settings.config,
        secret=settings.secret,
        port=settings.port,
        cpu_request=resources.cpu_request,
        memory_request=resources.memory_request,
        cpu_limit=resources.cpu_limit,
        memory_limit=resources.memory_limit,
        skip=frozenset(settings.skip_containers),
        unknown=tuple(sorted(PREFIX + key for key in given if key not in _TAKEN)),
    )
    for key, value in given.items():
        take = _TAKEN.get(key)
        if take is None:
            continue
        try:
            wishes = take(wishes, value)
        except ValueError as exc:
            message = f"The annotation {PREFIX}{key}: {value[:64]!r} is not {exc}."
            raise LeftAlone("bad-annotation", message) from None
    return wishes


def _matching(pattern: str, what: str, value: str) -> str:
    if not re.fullmatch(pattern, value) or len(value) > 253:
        raise ValueError(what)
    return value


def _config(wishes: Wishes, value: str) -> Wishes:
    return replace(wishes, config=_matching(OBJECT_NAME, "the name of a ConfigMap", value))


def _secret(wishes: Wishes, value: str) -> Wishes:
    name = _matching(OBJECT_NAME, "the name of a Secret", value) if value else None
    return replace(wishes, secret=name)


def _port(wishes: Wishes, value: str) -> Wishes:
    last = 65_535 - PORTS + 1
    if not (value.isascii() and value.isdigit() and 1024 <= int(value[:6]) <= last):
        raise ValueError(f"a port from 1024 to {last}")
    return replace(wishes, port=int(value))


def _skip(wishes: Wishes, value: str) -> Wishes:
    names = frozenset(part.strip() for part in value.split(",") if part.strip())
    for name in names:
        _matching(CONTAINER_NAME, "a list of container names, with commas", name)
    return replace(wishes, skip=wishes.skip | names)


def _quantity(value: str) -> str | None:
    return _matching(QUANTITY, "a quantity such as 250m or 256Mi", value) if value else None


_TAKEN: Final[Mapping[str, Callable[[Wishes, str], Wishes]]] = MappingProxyType(
    {
        "config": _config,
        "secret": _secret,
        "port": _port,
        "skip-containers": _skip,
        "cpu-request": lambda wishes, value: replace(wishes, cpu_request=_quantity(value)),
        "memory-request": lambda wishes, value: replace(wishes, memory_request=_quantity(value)),
        "cpu-limit": lambda wishes, value: replace(wishes, cpu_limit=_quantity(value)),
        "memory-limit": lambda wishes, value: replace(wishes, memory_limit=_quantity(value)),
    }
)
ANNOTATIONS: Final = tuple(PREFIX + key for key in _TAKEN)
