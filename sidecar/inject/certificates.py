"""Certificates of the webhook's own making, where no cert-manager is. Pure.

An authority of our own signs the serving certificate; the API server trusts the
authority. Both are renewed well before they end, and a new authority is made
known before anything it signed is served: for a while there are two in the
bundle. :func:`renewed` says what is due; it makes nothing that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE: Final = timedelta(days=3 * 365)
LEAF_LIFE: Final = timedelta(days=90)
# A new authority signs nothing before every API server has read of it.
HEARD_OF: Final = timedelta(minutes=10)
_SKEW: Final = timedelta(minutes=5)  # between our clock and theirs


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM throughout. ``authorities`` are certificates, the newest first; its key signs."""

    authorities: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes


def renewed(old: Credentials | None, names: Sequence[str], now: datetime) -> Credentials | None:
    """What is to take the place of ``old``, or None while nothing is due.

    A third of its life before its end a certificate is renewed. What is missing,
    broken, or made for other names is made anew.
    """
    if old is None or not _sound(old):
        key = ec.generate_private_key(ec.SECP256R1())
        return _signed(_pem(_authority(key, now)), key, names, now)
    authorities = x509.load_pem_x509_certificates(old.authorities)
    newest, leaf = authorities[0], x509.load_pem_x509_certificate(old.certificate)
    kept = [each for each in authorities if each is newest or each.not_valid_after_utc > now]
    if _due(newest, now):
        key = ec.generate_private_key(ec.SECP256R1())
        bundle = b"".join(_pem(each) for each in (_authority(key, now), *kept))
        if newest.not_valid_after_utc <= now:  # too late to be gentle
            return _signed(bundle, key, names, now)
        return replace(old, authorities=bundle, authority_key=_pem_key(key))
    key = _load_key(old.authority_key)
    heard = now - newest.not_valid_before_utc - _SKEW >= HEARD_OF
    elsewhere = not _signed_by(leaf, newest)
    if set(_names(leaf)) != set(names) or _due(leaf, now) or (elsewhere and heard):
        return _signed(old.authorities, key, names, now)
    if len(kept) < len(authorities):
        return replace(old, authorities=b"".join(map(_pem, kept)))
    return None


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pointsman webhook authority")])
    return (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _signed(
    bundle: bytes,
    signing: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: datetime,
) -> Credentials:
    """Credentials with a new serving certificate, of the newest authority in ``bundle``."""
    authority = x509.load_pem_x509_certificate(bundle)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pointsman webhook")])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    leaf = (
        _builder(name, authority.subject, key.public_key(), now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(server, critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
        .sign(signing, hashes.SHA256())
    )
    return Credentials(bundle, _pem_key(signing), _pem(leaf), _pem_key(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**uses: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


def _sound(old: Credentials) -> bool:
    """Whether these are certificates and keys that belong together."""
    try:
        authorities = x509.load_pem_x509_certificates(old.authorities)
        leaf = x509.load_pem_x509_certificate(old.certificate)
        pairs = (
            (authorities[0], _load_key(old.authority_key)),
            (leaf, _load_key(old.key)),
        )
    except (ValueError, TypeError):
        return False
    matching = all(each.public_key() == key.public_key() for each, key in pairs)
    return matching and any(_signed_by(leaf, each) for each in authorities)


def _signed_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _due(certificate: x509.Certificate, now: datetime) -> bool:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= ends - (ends - begins) / 3


def _names(leaf: x509.Certificate) -> list[str]:
    extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key of an elliptic curve")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
