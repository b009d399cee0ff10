"""An app as it may be in a pod: it streams from its model, and ends its streams when told to.

``python app_in_pod.py STREAMS [REQUESTS]``. It reads OPENAI_BASE_URL and nothing else
of the sidecar. With REQUESTS it is a Job: that many streams in all, then it exits.
Otherwise it keeps STREAMS going until SIGTERM, begins none after it, ends those in
flight, and exits 0. It says ``streaming`` when every stream has had content, and at
the end one JSON object: how many streams were whole, cut, and in flight at SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from urllib.parse import urlsplit

BODY = json.dumps(
    {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
).encode()


class App:
    def __init__(self, streams: int, requests: int | None) -> None:
        self.streams, self.left = streams, requests
        self.whole = self.cut = self.flying = self.flying_at_sigterm = 0
        self.told = False
        base = urlsplit(os.environ["OPENAI_BASE_URL"])
        self.host, self.port, self.path = base.hostname, base.port, base.path
        self.with_content: set[int] = set()

    def tell(self) -> None:
        self.told = True
        self.flying_at_sigterm = self.flying

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.tell)
        await asyncio.gather(*(self.keep_streaming(number) for number in range(self.streams)))
        said = {"whole": self.whole, "cut": self.cut, "at_sigterm": self.flying_at_sigterm}
        print(json.dumps(said), flush=True)

    async def keep_streaming(self, number: int) -> None:
        while not self.told and self.left != 0:
            if self.left is not None:
                self.left -= 1
            self.flying += 1
            try:
                text = await self.stream(number)
                good = text.endswith(b"data: [DONE]\n\n") and b'"error"' not in text
            except (OSError, EOFError, ValueError):
                good = False
            self.flying -= 1
            self.whole += good
            self.cut += not good

    async def stream(self, number: int) -> bytes:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(
                f"POST {self.path}/chat/completions HTTP/1.1\r\nHost: x\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
                + BODY
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise ValueError(head)
            text = b""
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                text += (await reader.readexactly(size + 2))[:-2]
                if number not in self.with_content and b"content" in text:
                    self.with_content.add(number)
                    if len(self.with_content) == self.streams:
                        print("streaming", flush=True)
            return text
        finally:
            writer.close()


if __name__ == "__main__":
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else None
    asyncio.run(App(int(sys.argv[1]), requests).run())
