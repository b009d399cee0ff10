"""Certificates of the webhook's own making: sound, renewed in time, and never a gap in trust."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sidecar.inject.certificates import (
    AUTHORITY_LIFE,
    HEARD_OF,
    LEAF_LIFE,
    Credentials,
    renewed,
)

NAMES = ("pointsman-webhook.pointsman.svc",)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def made(now: datetime = NOW, old: Credentials | None = None) -> Credentials:
    fresh = renewed(old, NAMES, now)
    assert fresh is not None
    return fresh


def leaf(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate)


def authorities(credentials: Credentials) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(credentials.authorities)


def trusted(credentials: Credentials, by: bytes, at: datetime, folder: Path) -> bool:
    """Whether openssl takes the certificate for a server's, trusting ``by``, at that time."""
    (folder / "ca.pem").write_bytes(by)
    (folder / "leaf.pem").write_bytes(credentials.certificate)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime",
         str(int(at.timestamp())), "-verify_hostname", NAMES[0], "-CAfile", folder / "ca.pem",
         folder / "leaf.pem"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def test_the_first_time_all_is_made_and_then_nothing_is_due() -> None:
    first = made()
    assert leaf(first).not_valid_after_utc == NOW + LEAF_LIFE
    assert authorities(first)[0].not_valid_after_utc == NOW + AUTHORITY_LIFE
    for days in (0, 1, 30, 59):
        assert renewed(first, NAMES, NOW + timedelta(days=days)) is None


def test_a_server_can_serve_with_it_and_openssl_trusts_it(tmp_path: Path) -> None:
    first = made()
    for name, text in (("c", first.certificate), ("k", first.key)):
        (tmp_path / name).write_bytes(text)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "c", tmp_path / "k")
    assert trusted(first, first.authorities, NOW, tmp_path)
    assert not trusted(first, made().authorities, NOW, tmp_path)
    assert not trusted(first, first.authorities, NOW + LEAF_LIFE + timedelta(days=1), tmp_path)


def test_a_third_before_its_end_the_certificate_is_renewed_by_the_same_authority(
    tmp_path: Path,
) -> None:
    first = made()
    later = NOW + LEAF_LIFE * 0.67
    second = made(later, first)
    assert second.authorities == first.authorities
    assert second.certificate != first.certificate
    assert second.key != first.key
    assert trusted(second, first.authorities, later, tmp_path)


def test_a_new_authority_is_known_before_anything_it_signed_is_served(tmp_path: Path) -> None:
    """Whoever trusts the bundle of one step takes the certificate of the next."""
    now, held = NOW, made()
    published = held.authorities
    end = NOW + AUTHORITY_LIFE * 2.2
    changes = 0
    while now < end:
        now += timedelta(days=11)
        while (fresh := renewed(held, NAMES, now)) is not None:
            assert trusted(fresh, published, now, tmp_path)  # as served, before all have heard
            held, published = fresh, fresh.authorities
            assert trusted(held, published, now, tmp_path)
            changes += 1
            now += timedelta(minutes=1)
        assert len(authorities(held)) <= 2
    assert changes > 2 * AUTHORITY_LIFE / LEAF_LIFE  # leaves, and authorities among them
    assert authorities(held)[0].not_valid_after_utc > end


def test_a_new_authority_signs_after_it_has_been_heard_of() -> None:
    first = made()
    due = NOW + AUTHORITY_LIFE * 0.67
    second = made(due, made(due - timedelta(days=30), first))
    assert len(authorities(second)) == 2
    assert renewed(second, NAMES, due + HEARD_OF / 2) is None
    third = made(due + HEARD_OF + timedelta(minutes=1), second)
    leaf(third).verify_directly_issued_by(authorities(third)[0])


@pytest.mark.parametrize("field", ["authorities", "authority_key", "certificate", "key"])
def test_what_is_broken_is_made_anew(field: str) -> None:
    first, other = made(), made()
    for bad in (b"", b"nonsense", getattr(other, field)):
        again = renewed(replace(first, **{field: bad}), NAMES, NOW)
        assert again is not None
        assert renewed(again, NAMES, NOW) is None


def test_a_certificate_for_other_names_is_made_anew() -> None:
    again = renewed(made(), ("elsewhere.pointsman.svc",), NOW)
    assert again is not None
    extension = leaf(again).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.value.get_values_for_type(x509.DNSName) == ["elsewhere.pointsman.svc"]


def test_after_a_long_sleep_all_is_made_anew_at_once(tmp_path: Path) -> None:
    first = made()
    late = NOW + AUTHORITY_LIFE * 2
    second = made(late, first)
    assert trusted(second, second.authorities, late, tmp_path)
