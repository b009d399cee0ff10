"""The serving certificate, taken again from its files when they change.

cert-manager renews by writing a Secret, and the kubelet by swapping the mounted
folder; the keeper writes the same two files. Connections that are open stay as
they are, new ones get the new certificate. Files that do not fit together, as
they may for a moment, leave the old certificate in use.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509

from sidecar.errors import SidecarError

log = logging.getLogger("sidecar.inject")

CERTIFICATE = "tls.crt"
KEY = "tls.key"


class CertificateError(SidecarError):
    """A certificate or key that cannot be served with."""


class ServingCertificate:
    """A server's TLS context over ``folder``; :meth:`refresh` follows the files."""

    def __init__(self, folder: Path) -> None:
        self._certificate, self._key = folder / CERTIFICATE, folder / KEY
        self._seen = b""
        self.expires: datetime | None = None
        self.context = _context()

    @property
    def loaded(self) -> bool:
        return self.expires is not None

    def refresh(self) -> bool:
        """Take the files if they are new; whether they were.

        :class:`CertificateError` if they are, and cannot be used: what was served stays.
        """
        try:
            texts = self._certificate.read_bytes(), self._key.read_bytes()
            seen = hashlib.sha256(b"\0".join(texts)).digest()
            if seen == self._seen:
                return False
            expires = x509.load_pem_x509_certificate(texts[0]).not_valid_after_utc
            # once on a context of no consequence: half a pair must not get into ours
            for context in (_context(), self.context):
                context.load_cert_chain(self._certificate, self._key)
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or "not PEM"
            raise CertificateError(
                f"{self._certificate} and {self._key.name} cannot be used: {reason}."
            ) from None
        self._seen, self.expires = seen, expires
        log.info("serving with a certificate that ends on %s", expires.date())
        return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
