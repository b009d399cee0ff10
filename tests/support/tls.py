"""A certificate authority of the tests, and servers that it vouches for."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """An authority whose certificate lies in a file, for ``ca_file``."""

    def __init__(self, folder: Path) -> None:
        self._own = trustme.CA()
        self.file = folder / "authority.pem"
        self._own.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server called ``names`` listens with; 127.0.0.1 and localhost unless given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context
