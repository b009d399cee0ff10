"""A day in the life of a sidecar, and then a search of all it said for what it must not say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import yaml

from tests.conftest import config_for
from tests.support.process import serve
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    answer,
    chunk,
    event,
    raw,
    stream,
)
from tests.support.wire import Reply, Wire, chat, exchange, post

UPSTREAM_KEY, CALLER_KEY, TOKEN = "sk-UPSTREAM-5e1f", "sk-CALLER-77aa", "tok-LISTEN-90bc"
PROMPT, ANSWER, INLINE = "MYPROMPT whisper", "MYANSWER shout", "sk-INLINE-31dd"
SECRETS = (UPSTREAM_KEY, CALLER_KEY, TOKEN, "MYPROMPT", "whisper", "MYANSWER", INLINE)

KEYS = (
    f"Content-Type: application/json\r\nAuthorization: Bearer {CALLER_KEY}\r\n"
    f"x-api-key: {TOKEN}\r\nx-router-explain: 1\r\n"
)
GOOD = [
    post(chat(PROMPT), headers=KEYS),
    post(chat(PROMPT + " HARD", stream=True), headers=KEYS),
    post(chat(PROMPT, model="small"), headers=KEYS, path=f"/v1/chat/completions?k={CALLER_KEY}"),
    post({"model": "auto", "input": PROMPT}, path="/v1/responses", headers=KEYS),
    post({"model": "auto", "input": PROMPT}, path="/v1/embeddings", headers=KEYS),
    post({"model": "auto", "prompt": PROMPT}, path="/v1/completions", headers=KEYS),
    post({**chat(PROMPT), "max_tokens": 5}, path="/v1/messages", headers=KEYS),
]
BAD = [
    post(chat(PROMPT)),  # without the token
    post(chat(PROMPT, model="nobody"), headers=KEYS),
    post(chat(PROMPT, temperature=PROMPT), headers=KEYS),
    post(b'{"model":"auto","messages":[{"role":"user","content":"' + PROMPT.encode(), headers=KEYS),
    post(PROMPT.encode(), headers=KEYS),
    post(chat(PROMPT), headers=KEYS + f"X-Note: {PROMPT}\0\r\n"),
    post(chat(PROMPT), headers=KEYS + f" {PROMPT}\r\n"),
    post(chat(PROMPT), headers=KEYS + f"X-Long: {PROMPT * 9999}\r\n"),
    post(chat(PROMPT), headers=KEYS + "Content-Encoding: gzip\r\n"),
    post(chat(PROMPT), headers=KEYS + "Content-Length: 1\r\n"),
    post(chat(PROMPT), headers=KEYS + "x-router-quality: high\r\n"),
    post({"model": "auto", "messages": [{"role": "user", "content": {"x": PROMPT}}]}, headers=KEYS),
    f"{PROMPT} {CALLER_KEY}\r\n\r\n".encode(),
    post(chat(PROMPT), headers=KEYS, path=f"/v1/{CALLER_KEY}"),
]
SCRIPTS = [
    answer(orjson.dumps({"choices": [{"message": {"content": ANSWER}}]})),
    stream(event({"content": ANSWER}), event({}, finish="stop"), DONE),
    answer(b'{"error":{"message":"MYANSWER"}}', "500 No"),
    answer(b'{"error":{"message":"MYANSWER"}}', "429 No", "Retry-After: 0\r\n"),
    answer(ANSWER.encode(), "200 OK", "Content-Type: text/plain\r\n"),
    raw(b"HTTP/1.1 200 OK\r\nMYANSWER MYANSWER\r\n\r\n"),
    raw(STREAM_HEAD, chunk(event({"content": ANSWER})), b"MYANSWER\r\n"),
    raw(STREAM_HEAD, chunk(b"data: " + ANSWER.encode() + b"\n\n"), LAST_CHUNK),
]


def own(reply: Reply) -> bytes:
    """What of an answer the sidecar wrote itself: its headers, and its error if it is one."""
    head = "\n".join(f"{name}: {value}" for name, value in reply.headers).encode()
    body = b"" if b"MYANSWER" in reply.body and reply.status in {200, 429, 500} else reply.body
    return head + b"\n" + body


async def test_no_key_and_no_prompt_is_in_anything_the_sidecar_says(
    tmp_path: Path, upstream: RawUpstream, second: RawUpstream
) -> None:
    file, log = tmp_path / "sidecar.yaml", tmp_path / "decisions.jsonl"
    config = config_for(upstream.url, second.url)
    for each in config["upstreams"].values():  # type: ignore[attr-defined]
        each["api_key_env"] = "UPSTREAM_KEY"
    config["listen_token_env"] = "LISTEN_TOKEN"
    config["decision_log"] = {"file": str(log)}
    config["limits"] = {"header_timeout_s": 1, "body_timeout_s": 1}
    keys = {"UPSTREAM_KEY": UPSTREAM_KEY, "LISTEN_TOKEN": TOKEN}
    sidecar = await serve(file, config, env=keys)
    said: list[bytes] = []
    try:
        await sidecar.serving()

        async def send(request: bytes, address: str = sidecar.listen) -> Reply:
            reply = await exchange(address, request)
            said.append(own(reply))
            return reply

        for script in SCRIPTS:
            upstream.script = second.script = script
            for request in GOOD:
                await send(request)
        assert UPSTREAM_KEY in str(upstream.seen[0].headers)
        for request in BAD:
            assert (await send(request)).status >= 400
        async with await Wire.to(sidecar.listen) as wire:  # a head that is never whole
            wire.send(GOOD[0][:-200].split(b"\r\n\r\n")[0])
            said.append(own(await wire.reply()))
        await upstream.stop()
        await second.stop()
        for request in GOOD:
            assert (await send(request)).status >= 400

        # an operator who pastes a key where none may be, and one who breaks the file
        broken = yaml.safe_load(file.read_text())
        broken["upstreams"]["local"]["api_key"] = INLINE
        broken["upstreams"]["other"]["base_url"] = f"https://user:{INLINE}@"
        for text in (yaml.safe_dump(broken), f"upstreams: [{INLINE}", f"{INLINE}\n"):
            file.write_text(text)
            reply = await send(post(b"", path="/admin/reload"), sidecar.admin)
            assert reply.status == 400
        for request in BAD[5:10] + BAD[12:]:
            assert (await send(request, sidecar.admin)).status >= 400
        for path in ("/livez", "/readyz", "/metrics", "/admin/kill-switch", "/nothing"):
            await send(post(b"", path=path, method="GET"), sidecar.admin)
        for request in GOOD[:2] + BAD[2:11]:
            explain = request.replace(b"/v1/chat/completions", b"/admin/explain", 1)
            await send(explain, sidecar.admin)
        await send(post({"model": "nobody"}, path="/admin/kill-switch"), sidecar.admin)
        await asyncio.sleep(1.2)  # for the decision log to be written
    finally:
        sidecar.terminate()
        assert await sidecar.ended() == 0
    assert len(log.read_bytes().splitlines()) >= 6 * (len(SCRIPTS) + 1)  # all but one dialect
    everything = {
        "stdout": sidecar.stdout.encode(),
        "stderr": sidecar.stderr.encode(),
        "decision log": log.read_bytes(),
        "answers": b"\n".join(said),
    }
    for place, text in everything.items():
        for secret in SECRETS:
            at = text.find(secret.encode())
            assert at < 0, f"{secret} in {place}: {text[max(0, at - 300) : at + 60]!r}"
        assert b"Traceback" not in text, place
    heads = everything["answers"].lower()
    for software in (b"aiohttp", b"python/", b"server: "):
        assert software not in heads
