"""An upstream's section, with its key and what else is secret read from where the file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from sidecar.config import schema
from sidecar.config.faults import Findings
from sidecar.config.snapshot import Secret, UpstreamSpec
from sidecar.dialects import DIALECTS


def upstream_of(
    name: str, section: schema.Upstream, env: Mapping[str, str], found: Findings
) -> UpstreamSpec:
    """``section`` of the upstream ``name``; what is wrong with it goes to ``found``."""
    auth = section.auth
    if auth is None:
        auth = "x-api-key" if section.dialect == "anthropic" else "bearer"
    if section.ca_file and not Path(section.ca_file).is_file():
        found.fault(("upstreams", name, "ca_file"), f"no file {section.ca_file}")
    paths = (dialect.path for dialect in DIALECTS.values())
    whole = next(filter(section.base_url.endswith, paths), None)
    if whole is not None:
        note = f"ends with {whole}, which the sidecar adds: leave it out"
        found.warn(("upstreams", name, "base_url"), note)
    elif not urlsplit(section.base_url).path.strip("/"):
        first = DIALECTS["messages" if section.dialect == "anthropic" else "chat"].path
        asked = f"{section.base_url.rstrip('/')}{first}"
        note = f"has no path, so {asked} is what is asked: most APIs begin with /v1"
        found.warn(("upstreams", name, "base_url"), note)
    return UpstreamSpec(
        name=name,
        base_url=section.base_url.rstrip("/"),
        family=section.dialect,
        auth=auth,
        key=_key(name, section, env, found),
        ca_file=section.ca_file,
        stream_usage=section.stream_usage,
        max_connections=section.max_connections,
        timeouts=section.timeouts,
        headers=_extras((name, "headers_env"), section.headers, section.headers_env, env, found),
        query=_extras((name, "query_env"), section.query, section.query_env, env, found),
        retries=section.retries,
        retry_budget=section.retry_budget,
        hedge_after_s=section.hedge_after_s,
    )


def replicas_of(first: UpstreamSpec, urls: Iterable[str]) -> tuple[UpstreamSpec, ...]:
    """``first`` and the same upstream at every other URL of ``urls``."""
    others = dict.fromkeys(url.rstrip("/") for url in urls)
    return (first, *(replace(first, base_url=url) for url in others if url != first.base_url))


def _extras(
    place: tuple[str, str],
    given: Mapping[str, str],
    secret: Mapping[str, str],
    env: Mapping[str, str],
    found: Findings,
) -> tuple[tuple[str, Secret], ...]:
    """Headers or query parameters of an upstream; what has no value stays out."""
    extras = [(each, Secret(value)) for each, value in given.items()]
    for each, variable in secret.items():
        value = env.get(variable, "").strip()
        key = ("upstreams", *place, each)
        if not value:
            found.warn(key, f"the variable {variable} is not set: requests go without {each}")
            continue
        if not value.isascii() or not value.isprintable():
            found.fault(key, "the value has characters that no request may carry")
        extras.append((each, Secret(value)))
    return tuple(extras)


def _key(
    name: str, section: schema.Upstream, env: Mapping[str, str], found: Findings
) -> Secret | None:
    if section.api_key_env:
        value = env.get(section.api_key_env, "").strip()
        key, lack = "api_key_env", f"the variable {section.api_key_env} is not set"
    elif section.api_key_file:
        key = "api_key_file"
        try:
            value = Path(section.api_key_file).read_text(encoding="utf-8").strip()
            lack = f"the file {section.api_key_file} is empty"
        except (OSError, UnicodeDecodeError):
            value, lack = "", f"the file {section.api_key_file} cannot be read"
    else:
        return None
    if not value:
        note = f"{lack}: requests to this upstream carry no key"
        found.warn(("upstreams", name, key), note)
        return None
    if not value.isascii() or not value.isprintable():
        found.fault(("upstreams", name, key), "the key has characters no header may carry")
    return Secret(value)
