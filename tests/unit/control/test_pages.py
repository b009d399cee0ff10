"""The dashboard's files: served whole, locked in, and with nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from sidecar.control import pages
from tests.conftest import Start
from tests.support.wire import exchange

FILES = sorted((Path(pages.__file__).parent / "static").iterdir())


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()


async def test_the_page_and_its_files_are_served_under_a_strict_policy(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)
    for path in sorted(pages.PATHS):
        reply = await exchange(sidecar.app.admin, get(path))
        assert reply.status == 200
        [policy] = reply.header("content-security-policy")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.header("x-frame-options") == ["DENY"]
        assert reply.header("x-content-type-options") == ["nosniff"]
        again = get(path, f"Connection: close\r\nIf-None-Match: {reply.header('etag')[0]}\r\n")
        assert (await exchange(sidecar.app.admin, again)).status == 304
    assert (await exchange(sidecar.app.admin, get("/static/nothing.js"))).status == 404
    assert (await exchange(sidecar.app.listen, get("/"))).status == 404  # never on `listen`


def test_no_file_asks_for_anything_from_elsewhere() -> None:
    for file in FILES:
        elsewhere = re.findall(r"https?://[^\s'\"`)<]+", file.read_text())
        known = ("http://www.w3.org/", "http://${host}")
        assert [url for url in elsewhere if not url.startswith(known)] == []


def test_nothing_stands_inline_that_the_policy_would_stop() -> None:
    body, policy = pages.page()
    page = body.decode()
    assert not re.search(r"\s(style|on\w+)=", page)
    inline = re.findall(r"<style>(.*?)</style>|<script>(.*?)</script>", page, re.DOTALL)
    assert [bool(style) for style, _ in inline] == [True, False]
    for text in (style or script for style, script in inline):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for file in FILES:
        if file.suffix == ".js":  # text is set as text: what a request names cannot be markup
            assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write", file.read_text())


def test_the_first_paint_waits_for_nothing_but_the_page() -> None:
    head = pages.page()[0].decode().partition("</head>")[0]
    assert 'rel="stylesheet"' not in head
    assert set(re.findall(r"<script([^>]*)src=", head)) == {' type="module" '}  # deferred


def test_the_page_and_all_its_files_weigh_less_than_150_kb() -> None:
    names = [path.rpartition("/")[2] for path in pages.PATHS - {"/"}]
    files = [file.stat().st_size for file in FILES if file.name in names]
    assert len(files) > 5
    assert len(pages.page()[0]) + sum(files) < 150_000
