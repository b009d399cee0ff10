"""What every section of the file is made of: names, amounts, addresses.

A text of the wrong form is answered with what to write, and never quoted: it may be a
key in the wrong place.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_PATH_BYTES: Final = 107  # of a Unix socket, which is what the system allows
_PORTS: Final = 65_535


def matching(pattern: str, sentence: str) -> AfterValidator:
    """Text that matches ``pattern`` as a whole; ``sentence`` says what to write instead."""
    form = re.compile(pattern, re.ASCII)

    def matched(text: str) -> str:
        if form.fullmatch(text) is None:
            raise ValueError(sentence)
        return text

    return AfterValidator(matched)


def host_port(text: str) -> str:
    """``text``, an address to listen on; ValueError with what to write instead."""
    host, colon, port = text.rpartition(":")
    if "://" in text:
        raise ValueError("write host:port without a scheme and a path, as in 127.0.0.1:8080")
    if not colon or not port.isascii() or not port.isdigit():
        raise ValueError("write host:port, as in 127.0.0.1:8080")
    if not host:
        raise ValueError("name the host too, as in 127.0.0.1:8080; 0.0.0.0 is every address")
    if host.startswith("[") and host.endswith("]"):
        _ipv6(host[1:-1])
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:8080")
    elif re.search(r"[\s/\[\]@]", host):
        raise ValueError("write host:port, as in 127.0.0.1:8080")
    if int(port) > _PORTS:
        raise ValueError(f"the port is over {_PORTS}")
    return text


def host_port_or_socket(text: str) -> str:
    """The same, or ``unix:/path``."""
    if not text.startswith("unix:"):
        return host_port(text)
    path = text.removeprefix("unix:")
    if re.fullmatch(r"/[^\x00\s]+", path) is None or len(path.encode()) > _PATH_BYTES:
        raise ValueError(
            f"a socket's path begins with / and is {_PATH_BYTES} bytes at most, without spaces, "
            "as in unix:/run/pointsman.sock"
        )
    return text


def server(text: str) -> str:
    """``text``, an address to connect to; ValueError as :func:`host_port`."""
    if "://" in text:
        raise ValueError("write the server's host:port without a scheme, as in 127.0.0.1:8001")
    if host_port(text).endswith(":0"):
        raise ValueError("nobody can be asked at port 0")
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("begin with http:// or https://, as in https://api.openai.com/v1")
    if re.search(r"[\s?#]", text):
        raise ValueError("an address holds no spaces, and nothing from ? or # on")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        if parts.netloc.startswith("["):
            _ipv6(host or "")
        (host or "").encode("idna")
    except ValueError:
        raise ValueError("the host or the port of this address cannot be read") from None
    if "@" in parts.netloc:
        raise ValueError("an address holds no user and no key: a key has keys of its own here")
    if not host or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("name a host, and a port where it is not the usual one")
    if not parts.path.isascii():
        raise ValueError("write what is not ASCII in the path as %XX")
    return text


def _ipv6(text: str) -> None:
    try:
        IPv6Address(text)
    except ValueError:
        raise ValueError("what stands in the brackets is no IPv6 address") from None


Name = Annotated[
    str,
    Field(max_length=200),
    matching(
        r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*",
        "a name is of letters, digits and . _ : / @ + - and begins with a letter or a digit",
    ),
]
# for what is a part of another name
Word = Annotated[
    str, matching(r"[A-Za-z0-9._-]{1,64}", "write 1 to 64 letters, digits and . _ -, no spaces")
]
EnvName = Annotated[
    str,
    matching(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "write the name of an environment variable, as in OPENAI_API_KEY, and not what it holds",
    ),
]
HeaderName = Annotated[
    str, matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", "no header can be called that")
]
Listen = Annotated[str, AfterValidator(host_port)]
ListenOrSocket = Annotated[str, AfterValidator(host_port_or_socket)]
Server = Annotated[str, AfterValidator(server)]  # to connect to
BaseUrl = Annotated[str, AfterValidator(_url)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
