"""Who may use the admin port: by which name, and with which token."""

from __future__ import annotations

import base64

import pytest

from sidecar.control.guard import is_ours
from tests.conftest import Running, Start
from tests.support.wire import Reply, exchange, post


def get(path: str, host: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


async def ask(sidecar: Running, path: str, host: str = "127.0.0.1", headers: str = "") -> Reply:
    return await exchange(sidecar.app.admin, get(path, host, headers))


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:9090", "evil.", "localhost.evil.test", "[::1.x]"]
)
async def test_a_name_that_is_not_ours_is_refused(
    start: Start, config: dict[str, object], host: str
) -> None:
    sidecar = await start(config)
    for path in ("/", "/readyz", "/metrics", "/admin/live", "/admin/kill-switch", "/nowhere"):
        reply = await ask(sidecar, path, host)
        assert (reply.status, reply.json["error"]["code"]) == (403, "unknown_host")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:9090",
        "127.0.0.1:1",
        "10.2.3.4:9090",
        "[::1]:9090",
        "::1",
        "my-sidecar",
    ],
)
def test_an_address_and_a_name_without_a_dot_are_ours(host: str) -> None:
    assert is_ours(host, ())


async def test_a_configured_name_is_ours(start: Start, config: dict[str, object]) -> None:
    sidecar = await start({**config, "admin_hosts": ["Admin.internal"]})
    assert (await ask(sidecar, "/livez", "admin.INTERNAL:9090")).status == 200
    assert (await ask(sidecar, "/livez", "other.internal")).status == 403


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


async def test_where_a_token_is_set_all_but_the_probes_asks_for_it(
    start: Start, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "open:sesame")
    sidecar = await start({**config, "admin_token_env": "ADMIN_TOKEN"})
    assert (await ask(sidecar, "/livez")).status == 200
    assert (await ask(sidecar, "/readyz")).status == 200
    for sent in ("", "Bearer wrong", "Bearer", "Basic !!", basic("open"), "open:sesame"):
        headers = f"Authorization: {sent}\r\n" if sent else ""
        reply = await ask(sidecar, "/metrics", headers=headers)
        assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_token")
        assert reply.header("www-authenticate")
        assert b"sesame" not in reply.body
    for sent in ("Bearer open:sesame", basic("open:sesame")):
        reply = await ask(sidecar, "/metrics", headers=f"Authorization: {sent}\r\n")
        assert reply.status == 200


async def test_an_admin_token_that_is_not_set_is_a_fault(
    start: Start, config: dict[str, object]
) -> None:
    with pytest.raises(Exception, match=r"admin_token_env: the variable NOT_SET_ANYWHERE"):
        await start({**config, "admin_token_env": "NOT_SET_ANYWHERE"})


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:1", "https://"])
async def test_what_a_page_of_another_origin_sends_is_refused(
    start: Start, config: dict[str, object], origin: str
) -> None:
    # a browser too old to say Sec-Fetch-Site says Origin with all that changes something
    sidecar = await start(config)
    request = post({"model": "large"}, path="/admin/kill-switch", headers=f"Origin: {origin}\r\n")
    reply = await exchange(sidecar.app.admin, request)
    assert (reply.status, reply.json["error"]["code"]) == (403, "cross_site")
    assert sidecar.app.runtime.pinned is None


async def test_what_the_dashboard_itself_sends_is_taken(
    start: Start, config: dict[str, object]
) -> None:
    sidecar = await start(config)
    own = f"Origin: {sidecar.admin}\r\nSec-Fetch-Site: same-origin\r\n"
    request = post({"model": "large"}, path="/admin/kill-switch", headers=own)
    request = request.replace(b"Host: sidecar", f"Host: {sidecar.app.admin}".encode())
    assert (await exchange(sidecar.app.admin, request)).status == 200
    assert sidecar.app.runtime.pinned == "large"


async def test_a_link_to_the_dashboard_may_be_followed_and_nothing_else_of_it_asked(
    start: Start, config: dict[str, object]
) -> None:
    sidecar = await start(config)
    site = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: {}\r\nSec-Fetch-Dest: {}\r\n"
    link, frame, script = (site.format(*how) for how in (
        ("navigate", "document"), ("navigate", "iframe"), ("no-cors", "script"),
    ))  # fmt: skip
    assert (await ask(sidecar, "/", headers=link)).status == 200
    for path, headers in (
        ("/", frame),
        ("/", script),
        ("/static/app.js", script),
        ("/admin/live", link),
        ("/metrics", link),
    ):
        assert (await ask(sidecar, path, headers=headers)).status == 403


async def test_the_pages_files_need_no_token_and_what_they_ask_for_does(
    start: Start, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "open-sesame")
    sidecar = await start({**config, "admin_token_env": "ADMIN_TOKEN"})
    for path in ("/", "/static/app.js"):
        assert (await ask(sidecar, path)).status == 200
    script = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"
    refused = await ask(sidecar, "/admin/live", headers=script)
    assert refused.status == 401
    assert refused.header("www-authenticate") == ["Bearer"]  # the page asks, not the browser
    assert (await ask(sidecar, "/static/../admin/live")).status in {401, 404}
